"""Rocq as the independent judge of the kernel: many scripts in one file, one call of coqc."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from surpass.core import Problem, Trajectory, replay
from surpass.domains.proofs.kernel.domain import Kernel, pose
from surpass.domains.proofs.kernel.enumeration import trajectories
from surpass.domains.proofs.kernel.export import to_rocq
from surpass.domains.proofs.kernel.formula import parse
from surpass.domains.proofs.kernel.generate import SPLITS, Recipe, generate
from surpass.domains.proofs.kernel.rules import Goal, spine
from surpass.domains.proofs.kernel.solve import shortest
from surpass.errors import DataError
from tests.domains.proofs.kernel.formulas import THEOREMS

needs_rocq = pytest.mark.skipif(shutil.which("coqidetop.opt") is None, reason="needs Rocq: apt-get install coq")


def coqc(folder: Path, scripts: Sequence[str]) -> subprocess.CompletedProcess[str]:
    file = folder / "kernel_proofs.v"
    modules = [f"Module M{i}.\n{script}End M{i}.\n" for i, script in enumerate(scripts)]  # one statement may come twice
    file.write_text("\n".join(modules))
    return subprocess.run(
        ["coqc", "-q", "-w", "none", file.name], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def wandered(problem: Problem, rng: random.Random) -> Trajectory | None:
    """Return a proof that wanders: legal actions at random, then the shortest way home from where that is possible."""
    domain = Kernel()
    state = domain.start(problem)
    for _ in range(rng.randint(1, 8)):
        options = [domain.step(state, action) for action in domain.observe(state).legal or ()]
        options = [after for after in options if after.goals and not after.refusal]
        if not options:
            break
        state = rng.choice(options)
    rest = [shortest(goal, 10) for goal in state.goals]
    actions = [*state.tactics, *(action for part in rest if part is not None for action in part)]
    return None if None in rest else replay(domain, problem, actions)


@pytest.mark.rocq
@needs_rocq
def test_rocq_accepts_what_the_kernel_accepts(tmp_path: Path) -> None:
    splits = generate(Recipe(train=60, held_out=20))
    problems = [problem for split in SPLITS for problem in splits[split]]
    proofs = [(problem, tuple(problem.data["solution"])) for problem in problems]
    for text in THEOREMS:
        proofs.append((pose(text), shortest(Goal((), parse(text)), 16) or ()))
    for text in (r"A /\ B -> B /\ A", r"(A -> B \/ C) -> A -> C \/ B", r"(A -> ~ B) -> A /\ B -> C"):
        found = [leaf for leaf in trajectories(Kernel(), pose(text), 6) if leaf.solved]
        proofs += [(pose(text), leaf.actions) for leaf in found]
    rng = random.Random(0)
    longer = (wandered(problem, rng) for problem in problems * 3)
    proofs += [(leaf.problem, leaf.actions) for leaf in longer if leaf is not None and leaf.solved]
    scripts = [to_rocq(problem, actions) for problem, actions in proofs]
    text = "\n".join(scripts)
    assert len(scripts) > 300
    assert all(tactic in text for tactic in ("exfalso.", "apply h", "assert (h", "destruct h", "left.", "split."))
    result = coqc(tmp_path, scripts)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.rocq
@needs_rocq
def test_rocq_refuses_a_changed_statement(tmp_path: Path) -> None:
    script = to_rocq(pose("A -> B -> A"), ["intro h1", "intro h2", "exact h1"])
    assert coqc(tmp_path, [script]).returncode == 0
    assert coqc(tmp_path, [script.replace("A -> B -> A", "A -> B -> B")]).returncode != 0


def test_free_names_and_premises_are_written_out() -> None:
    actions = ["intro a", "intro f", "cases f", "exact a", "exact h1"]
    assert to_rocq(pose(r"A -> (A -> B /\ C) -> B", key="k.1"), actions) == (
        "Theorem kernel_k_1 (A B C : Prop) : A -> (A -> B /\\ C) -> B.\nProof.\nintro a.\nintro f.\n"
        "assert (h1 : B /\\ C); [apply f | clear f; destruct h1 as [h1 h2]].\nexact a.\nexact h1.\nQed.\n"
    )


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (["intro h1"], "unfinished|goals left"),
        (["intro h1", "exact h1", "exact h1"], "nothing was left"),
        (["split"], "refused"),
    ],
)
def test_only_proofs_are_exported(actions: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        to_rocq(pose("A -> A"), actions)


def test_every_head_that_cases_takes_is_exported() -> None:
    for text in ("(A -> False) -> A -> B", r"(A -> B \/ C) -> A -> B \/ C", r"(A -> B /\ C) -> A -> B"):
        assert spine(parse(text).parts[0])[0]
        found = [leaf for leaf in trajectories(Kernel(), pose(text), 7) if leaf.solved and "cases h1" in leaf.actions]
        assert found
        assert "assert (" in to_rocq(pose(text), found[0].actions)
