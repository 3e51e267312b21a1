"""Demonstrations: what was done, and what teachers came to in the end; both told as a principal in office is told."""

from collections import defaultdict

import numpy as np
import pytest

from surpass.core import Trajectory
from surpass.domains.economy.landscapes import Landscape, landscape
from surpass.domains.economy.principals.history import parse_line
from surpass.domains.economy.principals.in_context.principal import InContext
from surpass.domains.economy.principals.in_context.reading import TERMS, UNIT, Past, past_of
from surpass.domains.economy.principals.in_context.teaching import (
    CUTS,
    LONGEST,
    TEACHERS,
    Demonstrations,
    Example,
    example,
    lessons,
    play,
)
from surpass.domains.economy.principals.principal import principal_of
from surpass.domains.economy.society import Metrics, Term, read

PAST = Past(
    np.array([[0.1], [0.2], [0.3], [0.4], [0.45], [0.6]]),
    np.array([3.0, 1.0, 5.0, 9.0, 4.0, 2.0]),
    np.array([1, 2, 1, 2, 1, 1]),
)


def cuts(some: list[Trajectory]) -> dict[int, dict[bool, Trajectory]]:
    """Return the trajectories of each cut, by aim."""
    found = defaultdict[int, dict[bool, Trajectory]](dict)
    for one in some:
        found[int(one.problem.key.partition("/")[2])][one.info["aim"]] = one
    return dict(found)


def share(trajectory: Trajectory) -> float:
    told = read(trajectory.actions[0], UNIT[1])
    assert not isinstance(told, str)
    return told[0]


def test_what_was_done_and_what_they_came_to_in_the_end() -> None:
    """Context 1 is asked about; its best later share, 0.7, beats all that was seen of it."""
    flips = set()
    for seed in range(20):
        found = cuts(lessons("7", Example(PAST, 1, np.array([0.7]), 6.0), seed))
        assert sorted(found) == [0, 2, 4, 5], "the terms of that context"
        for place, pair in found.items():
            flipped = not np.isclose(share(pair[False]), PAST.shares[place, 0])
            flips.add(flipped)
            assert share(pair[False]) == pytest.approx(abs(flipped - PAST.shares[place, 0]))
            assert share(pair[True]) == pytest.approx(abs(flipped - 0.7))
            asked = pair[True].steps[0].observation.text.split("\n")[-1]
            assert asked.startswith(f"{place + 1}. [context 1] ")
            assert asked.endswith("[aim 1] ")
            assert pair[False].steps[0].observation.text == pair[True].steps[0].observation.text.removesuffix(
                "[aim 1] "
            )
    assert flips == {False, True}
    found = cuts(lessons("7", Example(PAST, 1, np.array([0.3]), 5.0), 0))
    assert {place: True in pair for place, pair in found.items()} == {0: True, 2: True, 4: False, 5: False}, (
        "who has seen the best is not asked for it"
    )


def test_a_cut_is_told_as_a_principal_in_office_is_told() -> None:
    """The same text, prefix by prefix: nothing of what came later shows, not even in the scale of welfare."""
    rates, asked = UNIT[1], list[str]()

    class Listener:
        def propose(self, observations, n, *, seeds):  # type: ignore[no-untyped-def]
            asked.extend(one.text for one in observations)
            return [[] for _ in observations]

    terms = [
        Term(tuple(shares), Metrics(welfare), (("context", float(kind)),))
        for shares, welfare, kind in zip(PAST.shares.tolist(), PAST.welfare.tolist(), PAST.kinds.tolist(), strict=True)
    ]
    unflipped = 0
    for seed in range(8):
        for place, pair in cuts(lessons("7", Example(PAST, 1, np.array([0.7]), 6.0), seed)).items():
            if share(pair[True]) == pytest.approx(0.7):
                with pytest.raises(Exception, match="named no rates"):
                    InContext(Listener(), rates, 0, True, 1).ask(terms[:place], terms[0].context)  # type: ignore[arg-type]
                assert pair[True].steps[0].observation.text == asked[-1]
                unflipped += 1
    assert unflipped > 4


def test_rates_are_renamed_together() -> None:
    """In every cut the order of the rates and their ends are those of the answer, too."""
    rng = np.random.default_rng(0)
    past = Past(rng.random((4, 3)).round(2), np.array([1.0, 2.0, 3.0, 4.0]), np.zeros(4, dtype=np.int64))
    best = np.array([0.11, 0.52, 0.97])
    seen = set()
    for seed in range(30):
        pair = cuts(lessons("0", Example(past, 0, best, 9.0), seed))[3]
        lines = pair[True].steps[0].observation.text.split("\n")[1:-1]
        told = np.array([parse_line(line, UNIT[3]).rates for line in lines])
        columns = np.concatenate([told, [read(pair[True].actions[0], UNIT[3])]]).T
        expected = np.concatenate([past.shares[:3], best[None]]).T
        order = []
        for column in columns:
            match = [
                (rate, flipped)
                for rate, own in enumerate(expected)
                for flipped in (False, True)
                if np.allclose(column, 1 - own if flipped else own, atol=0.0051)
            ]
            assert len(match) == 1
            order += match
        assert sorted(rate for rate, _ in order) == [0, 1, 2]
        seen.add(tuple(order))
    assert len(seen) > 15


def test_hindsight_is_of_what_teachers_found() -> None:
    better = 0
    for seed in range(6):
        one = example(seed)
        society = landscape(seed, [landscape(seed, ("bowl", "ridge", "bump", "plateau", "powers", "twins")).family])
        assert isinstance(society, Landscape)
        assert len(one.past.welfare) == LONGEST
        seen = one.past.welfare[one.past.kinds == one.kind].max()
        assert one.top >= seen
        better += one.top > seen
        for pair in cuts(lessons("0", one, seed)).values():
            for trajectory in pair.values():
                assert len(trajectory.steps[0].proposal.tokens) == one.past.shares.shape[1]
    assert better >= 3, "with more time they find something better"


def test_a_long_history_is_shortened() -> None:
    some = [one for seed in range(4) for one in lessons("0", example(seed), seed)]
    assert len(some) <= 4 * 2 * CUTS
    numbers = [int(one.steps[0].observation.text.split("\n")[-1].partition(".")[0]) for one in some]
    assert max(numbers) == TERMS
    assert min(numbers) < TERMS / 2


def test_a_history_is_that_of_its_seed() -> None:
    first, again, other = example(3), example(3), example(4)
    assert np.array_equal(first.past.shares, again.past.shares)
    assert (first.kind, first.top, first.best.tolist()) == (again.kind, again.top, again.best.tolist())
    assert not np.array_equal(first.past.welfare, other.past.welfare)


def test_teachers_take_turns_on_one_history() -> None:
    one = landscape(1, ["bowl"], rates=(3,))
    teachers = [principal_of(name, one, seed=2) for name in TEACHERS]
    history = play(one, teachers, 7)
    writers = [
        {
            name
            for name, teacher in zip(TEACHERS, teachers, strict=True)
            if teacher.ask(history[:n], t.context) == t.rates
        }
        for n, t in enumerate(history)
    ]
    assert all(writers)
    assert set.union(*writers[1:]) == set(TEACHERS)
    past, _ = past_of(history, (), one.rates)
    assert past.welfare.tolist() == [term.metrics.welfare for term in history]


def test_a_run_goes_on_in_one_context() -> None:
    one = next(found for seed in range(99) if len((found := landscape(seed, ["bowl"], rates=(2,))).parts) == 3)
    teachers = [principal_of(name, one, seed=2) for name in TEACHERS]
    begun = play(one, teachers, 7, terms=3)
    within = (("kind", 2.0),)
    history = play(one, teachers, 8, terms=5, before=begun, within=within)
    assert history[:3] == begun
    assert [term.context for term in history[3:]] == [within] * 5


def test_demonstrations_are_made_when_asked_for() -> None:
    some = Demonstrations(3, 5)
    assert (list(some), len(some)) == (["0", "1", "2"], 3)
    assert some["1"] == some["1"]
    assert some["1"] != some["2"]
    assert {trajectory.problem.key.partition("/")[0] for trajectory in some["1"]} == {"1"}
    for key in ("3", "-1", "one"):
        assert some.get(key, ()) == ()
        with pytest.raises(KeyError):
            some[key]
