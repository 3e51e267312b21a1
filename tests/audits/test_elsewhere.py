"""Counts against spaces that can be listed in full."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from surpass.audits.elsewhere import ERROR, BenchConfig, Letters, counted, log_sum, main
from surpass.audits.words import Word, small_model, texts
from surpass.core import Trajectory
from surpass.domains.proofs.reward import binary, paper
from surpass.errors import ConfigError

DOMAIN = Word({"0": 1.0, "01": 1.0}, 1.0)


def everything() -> tuple[list[Trajectory], list[Trajectory]]:
    """Return the solutions and the errors of all that four tokens can write in at most three."""
    leaves = list(texts(DOMAIN, small_model("01", 3, seed=3)))
    return [leaf for leaf in leaves if leaf.solved], [leaf for leaf in leaves if not leaf.solved]


def test_letters_count_what_is_cut_too() -> None:
    letters = Letters(ends=2, inner=5, longest=3)
    assert [letters.count(length) for length in (1, 2, 3)] == [2, 10, 50 + 125]


def test_errors_are_those_of_the_list_in_number_and_reward() -> None:
    model, (solved, errors) = small_model("01", 3, seed=3), everything()
    counts = counted(solved, model, Letters(1, 3, 3))
    assert sum(counts.values()) == len(errors)
    by_hand = {
        "binary": binary(errors, error=ERROR).logsumexp(0),
        "paper": paper(errors, scorer=model).logsumexp(0),
    }
    for reward, expected in by_hand.items():
        assert log_sum(counts, reward) == pytest.approx(float(expected)), reward


def test_errors_of_two_steps_come_after_one_that_is_right() -> None:
    """ "0" and then "01", or "1" at once: an error may come in the first place or, after "0", in the second."""
    model, (solved, _) = small_model("01", 3, seed=3), everything()
    first, second = (leaf.steps[0] for leaf in solved)
    last = replace(second, proposal=replace(second.proposal, action="1", tokens=model.encode("1")))
    plays = [replace(solved[0], steps=(first, second)), replace(solved[0], steps=(last,))]
    counts = counted(plays, model, Letters(1, 3, 3))
    assert sum(number for (steps, _, _), number in counts.items() if steps == 0) == 40 - 2
    assert sum(number for (steps, tokens, _), number in counts.items() if (steps, tokens) == (1, 2)) == 40 - 1
    assert sum(counts.values()) == 77
    assert log_sum(counts, "binary") == pytest.approx(math.log(77) + ERROR)
    assert log_sum({(1, 2, 3): 5}, "paper") == pytest.approx(math.log(5) - 15 + 8 * math.log((92 - 2.5) / 92))


def test_almost_all_mass_is_elsewhere_unless_a_reference_says_otherwise() -> None:
    report = main(BenchConfig(tasks=("integer",), taught=(0,)))
    masses = {(row.reward, row.target): row for row in report.rows}
    for reward in ("binary", "paper"):
        assert masses[reward, "plain"].log_solutions < -100
        assert masses[reward, "plain"].elsewhere == 1.0
        assert masses[reward, "relative"].elsewhere < 0.2
    assert report.table().row_count == 4
    assert torch.get_num_threads() >= 1


@pytest.mark.parametrize("config", [BenchConfig(tasks=("bits",)), BenchConfig(tasks=()), BenchConfig(taught=(3, 2))])
def test_what_cannot_be_counted_is_refused(config: BenchConfig, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    with pytest.raises(ConfigError):
        main(replace(config, json=path))
    assert not path.exists()
