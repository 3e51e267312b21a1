"""A storm: many tactics while provers and workers are killed and some tactics hog time, memory or output.

First, in calm, the domain answers a fixed set of questions (a state, a tactic); then workers answer questions drawn
from that set, with the hogs between them, while every so often a prover or a worker is killed. What must hold: no
answer differs from the one given in calm (an UNKNOWN, or a task given up as lost, is no answer; how many is reported),
memory stays bounded, and in the end no process and no scratch folder is left.

It storms in spells of some two thousand tactics. With `out`, each is written down when it is over, and who calls again
with that folder goes on after the last: a long storm may be interrupted at any moment. The questions of a spell depend
on the seed and its place alone; the calm answers are asked anew each time, by the provers of that time.

Every answer is compared, whatever time it took: a tactic that is cut short is UNKNOWN, so nothing but that may change.
"""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from surpass.bounds import at_least
from surpass.core import Conversation, Domain, Lost, Problem, Status, Trajectory, Verdict, apply
from surpass.domains.proofs import sandbox
from surpass.domains.proofs.rocq.domain import ProofState, Rocq
from surpass.domains.proofs.rocq.protocol import Limits, Toplevel, version
from surpass.domains.proofs.rocq.session import SessionOptions
from surpass.models.scripted import Scripted
from surpass.recorded import run_at
from surpass.rollouts.runner import RunOptions, run
from surpass.rollouts.workers import Workers
from surpass.store import Run

STATEMENT = "Lemma turn : forall n m : nat, n = m -> m = n /\\ (n = m \\/ m = 0)."
SCRIPT = ("intros n m H.", "split.", "symmetry; exact H.", "left; exact H.")
TACTICS = (
    *SCRIPT,
    *(
        "intros.",
        "intros n.",
        "revert n.",
        "destruct n.",
        "induction m; simpl.",
        "subst; auto.",
        "intuition.",
        "- auto.",
    ),
    *(
        "exact I.",
        "fail.",
        "apply nothing.",
        "rewrite plus.",
        "discriminate.",
        "congruence.",
        "shelve.",
        "Admitted.",
        "(",
    ),
)
HOGS = (
    "repeat (pose 0).",
    "let x := eval vm_compute in (Nat.pow 10 12) in idtac.",
    'do 100000 idtac "flood".',
)
STATES = 12  # of each lemma, about which questions are asked
BATCH = 32  # questions of one ask
ROUNDS = 8  # asks of each lemma in a spell
COUNTS = ("answers", "hogs", "kills")
WORKER = 0.1  # of the kills hit a worker with all its provers, the others one prover


@dataclass(frozen=True)
class BenchConfig:
    """How long a storm, and how wild."""

    tactics: int = 100_000
    lemmas: int = 8  # each in a file of its own
    workers: int = 2
    hogs: float = 0.0005  # of the tactics
    kills: float = 0.002  # for each tactic, on average
    timeout: int = 2  # seconds that Rocq gives a tactic
    memory: int = 1 << 30  # bytes of address space of a prover
    seed: int = 0
    out: Path | None = None  # where finished spells are kept; a folder that holds some is gone on with
    json: Path | None = None  # where to write the numbers, too

    def __post_init__(self) -> None:
        at_least(self, tactics=1, lemmas=1, workers=1, hogs=0, kills=0, timeout=1, memory=1)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of it."""

    checker: str
    sandbox: str
    questions: int  # distinct ones
    seconds: float
    answers: Mapping[str, int]  # open, accepted, rejected; and those that are none: unknown, lost
    hogs: Mapping[str, int]  # the same of the hogs alone
    kills: Mapping[str, int]
    differing: tuple[str, ...]  # answers unlike those in calm; the first ten
    differ: int
    peak_memory: float  # MB of all processes together
    own_memory: tuple[float, float]  # MB of this process after its first spell, and at the end
    sittings: int  # how often it was begun or gone on with
    processes_left: int
    folders_left: int

    def table(self) -> Table:
        """Return everything as a table to print."""
        (first, last), sittings = self.own_memory, f" in {self.sittings} sittings" if self.sittings > 1 else ""
        table = Table(title=f"Storm ({self.checker}, {self.sandbox})", show_header=False)
        rows = {
            "tactics": f"{sum(self.answers.values()) + sum(self.hogs.values())} in {self.seconds:.0f} s{sittings}",
            "answers": ", ".join(f"{count} {name}" for name, count in self.answers.items()),
            "hogs": ", ".join(f"{count} {name}" for name, count in self.hogs.items()),
            "killed": ", ".join(f"{count} {name}" for name, count in self.kills.items()),
            "differ from calm": " ".join([f"{self.differ} (of {self.questions} questions)", *self.differing]),
            "memory": f"{self.peak_memory:.0f} MB at most; here, from first to last, {first:.0f} to {last:.0f} MB",
            "left behind": f"{self.processes_left} processes, {self.folders_left} folders",
        }
        for name, shown in rows.items():
            table.add_row(name, shown)
        return table


@dataclass(slots=True)
class _Spell:
    """What is counted while it storms for a while."""

    first: int  # of its rounds
    rounds: int
    sitting: int
    questions: int  # distinct ones that there are
    answers: Counter[str] = field(default_factory=Counter)
    hogs: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    differing: list[str] = field(default_factory=list)
    peak: int = 0  # bytes of all processes
    own: int = 0  # bytes of this one, at the end
    seconds: float = 0.0


Question = tuple[ProofState, str]


def main(config: BenchConfig) -> Report:
    """Ask in calm, ask in the storm, compare. Raises ConfigError for a folder whose spells were of another storm."""
    own = psutil.Process()
    before = {child.pid for child in own.children(recursive=True)}
    spells = list[_Spell]()
    with suppress(KeyboardInterrupt):  # and report what there is
        for spell in _spells(config):
            spells.append(spell)
    with Toplevel():  # whoever comes next clears away what the killed have left
        pass
    left = [
        child for child in own.children(recursive=True) if child.pid not in before and "tracker" not in _line(child)
    ]
    report = _report(spells, (len(left), len(sandbox.abandoned())))
    if config.json is not None:
        config.json.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return report


def _spells(config: BenchConfig) -> Iterator[_Spell]:
    """Yield the finished spells of a folder, then storm for those that are missing, and keep them there."""
    settings = {name: value for name, value in asdict(config).items() if name not in ("tactics", "out", "json")}
    kept = None if config.out is None else run_at(config.out, {"experiment": "soak", **settings})
    found = _loaded(kept) if kept else []
    yield from found
    rounds = max(1, round(config.tactics / config.lemmas / BATCH))
    begins = range(sum(spell.rounds for spell in found), rounds, ROUNDS)
    if not begins:
        return
    limits = Limits(memory=config.memory)
    options = SessionOptions(timeout=config.timeout, grace=3.0, processes=4, limits=limits)
    with tempfile.TemporaryDirectory(prefix="surpass-soak-") as folder:
        problems = [_lemma(Path(folder), f"Soak{index}") for index in range(config.lemmas)]
        with Rocq(problems, options=options) as calm:
            known = {problem.key: _ask(calm, problem) for problem in problems}
        questions = sum(map(len, known.values()))
        domain, sitting = Rocq(problems, options=options), 1 + max((spell.sitting for spell in found), default=-1)
        with Workers(domain, config.workers) as pool:
            for first in track(begins, "storm", console=Console(stderr=True), transient=True):
                spell, began = _Spell(first, min(ROUNDS, rounds - first), sitting, questions), time.monotonic()
                storm = partial(_storm, spell, config, known)
                for _ in run(storm, problems, domain, Scripted({}), options=RunOptions(live=len(problems), pool=pool)):
                    pass
                _weigh(spell)
                spell.seconds = time.monotonic() - began
                found.append(spell)
                if kept:
                    kept.save({"spells": [_plain(one) for one in found]})
                yield spell


def _loaded(kept: Run) -> list[_Spell]:
    state = kept.load() or {"spells": []}
    return [_Spell(**{**one, **{name: Counter(one[name]) for name in COUNTS}}) for one in state["spells"]]


def _plain(spell: _Spell) -> dict[str, Any]:
    values = {one.name: getattr(spell, one.name) for one in fields(spell)}
    return {**values, **{name: dict(values[name]) for name in COUNTS}}


def _report(spells: Sequence[_Spell], left: tuple[int, int]) -> Report:
    """Add up spells, processes and folders left; memory of this process is that of its last sitting."""
    answers, hogs, kills = (sum((getattr(one, name) for one in spells), Counter[str]()) for name in COUNTS)
    differing = [one for spell in spells for one in spell.differing]
    last = [spell for spell in spells if spell.sitting == spells[-1].sitting]
    return Report(
        checker=f"rocq {version()}",
        sandbox=sandbox.level(),
        questions=max((spell.questions for spell in spells), default=0),
        seconds=round(sum(spell.seconds for spell in spells), 1),
        answers=dict(answers),
        hogs=dict(hogs),
        kills=dict(kills),
        differing=tuple(differing[:10]),
        differ=len(differing),
        peak_memory=round(max((spell.peak for spell in spells), default=0) / 2**20, 1),
        own_memory=(round(last[0].own / 2**20, 1), round(last[-1].own / 2**20, 1)) if last else (0.0, 0.0),
        sittings=len({spell.sitting for spell in spells}),
        processes_left=left[0],
        folders_left=left[1],
    )


def _lemma(folder: Path, name: str) -> Problem:
    """Write a file with the lemma and return it as a problem."""
    file = folder / f"{name}.v"
    file.write_text(f"{STATEMENT}\nProof. {' '.join(SCRIPT)} Qed.\n", encoding="utf-8")
    data = {"file": str(file), "top": name, "noinit": False, "options": (), "position": 0, "statement": STATEMENT}
    data |= {"opening": "Proof.", "name": f"{name}.turn", "solution": SCRIPT}
    goals = STATEMENT.removeprefix("Lemma turn : ").removesuffix(".")
    return Problem(f"{name}.turn", str(file), {**data, "goals": f"|- {goals}"})


def _ask(domain: Rocq, problem: Problem) -> dict[Question, ProofState]:
    """Return the calm answers to every tactic in the first states of a lemma, breadth first."""
    answers, states = dict[Question, ProofState](), [domain.start(problem)]
    for state in states:
        for tactic in TACTICS:
            answers[state, tactic] = after = domain.step(state, tactic)
            if after.status is None and len(states) < STATES:
                states.append(after)
    return answers


def _storm(
    spell: _Spell,
    config: BenchConfig,
    known: Mapping[str, Mapping[Question, ProofState]],
    domain: Domain[ProofState],
    problem: Problem,
    state: ProofState,
    /,
) -> Conversation[None]:
    """Ask questions drawn by chance, some of them hogs, and compare the answers; strike now and then."""
    rng, answers = random.Random(f"{config.seed} {spell.first} {problem.key}"), known[problem.key]
    questions = list(answers)
    for _ in range(spell.rounds):
        asked = [
            (state, rng.choice(HOGS)) if rng.random() < config.hogs else rng.choice(questions) for _ in range(BATCH)
        ]
        for question, answer in zip(asked, (yield from apply(asked)), strict=True):
            expected = answers.get(question)
            name = "lost" if isinstance(answer, Lost) else (answer.status or "open")
            (spell.hogs if expected is None else spell.answers)[str(name)] += 1
            definite = Status.UNKNOWN not in (name, expected.status if expected else None) and name != "lost"
            if expected is not None and definite and answer != expected:
                spell.differing.append(f"{question[0].tactics} {question[1]}: {answer}, in calm {expected}")
        if rng.random() < config.kills * BATCH:
            _strike(rng, spell)
    yield Trajectory(problem, (), Verdict(Status.UNKNOWN))


def _strike(rng: random.Random, spell: _Spell) -> None:
    """Note how much memory is in use, then kill a worker or a prover, whatever it is doing."""
    children = _weigh(spell)
    provers = [child.pid for child in children if "-main-channel" in _line(child)]
    workers = [child.pid for child in psutil.Process().children() if "spawn_main" in _line(child)]
    kind, victims = ("workers", workers) if rng.random() < WORKER else ("provers", provers)
    if victims:
        with suppress(ProcessLookupError):
            os.kill(rng.choice(victims), signal.SIGKILL)
            spell.kills[kind] += 1


def _weigh(spell: _Spell) -> list[psutil.Process]:
    """Note how much memory is in use, and return the processes below this one."""
    own = psutil.Process()
    children = own.children(recursive=True)
    spell.own = _size(own)
    spell.peak = max(spell.peak, spell.own + sum(map(_size, children)))
    return children


def _line(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return process.name() + " " + " ".join(process.cmdline())
    return ""


def _size(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0
