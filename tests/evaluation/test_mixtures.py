"""The four propositions on mixtures of experts, on random finite instances; both conventions of temperature."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from surpass.errors import DataError
from surpass.evaluation.mixtures import (
    TIED,
    Array,
    Instance,
    Sharpen,
    bound,
    complementary,
    exponentials,
    instance,
    noisy,
    optimal,
    powers,
    vote,
)

BOTH = pytest.mark.parametrize("sharpen", [powers, exponentials])
SLACK = 1e-12
# what float64 can tell: a lead or a gap between the two likeliest answers below it drowns in rounding
CLEAR = 1e-6


@st.composite
def instances(draw: st.DrawFn, most: int = 6) -> Instance:
    """Experts of any sharpness, some of `most` answers impossible; rewards may tie, tests may skip inputs."""
    experts, inputs, answers = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(2, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sharp = draw(st.sampled_from([0.1, 1.0, 10.0]))
    rows = rng.dirichlet(np.full(answers, sharp), (experts, inputs))
    if draw(st.booleans()):  # deterministic experts, whose votes tie often
        rows = np.eye(answers)[rows.argmax(-1)]
    reward = rng.integers(0, 3, (inputs, answers)) if draw(st.booleans()) else rng.normal(size=(inputs, answers))
    test = rng.dirichlet(np.full(inputs, 0.5))
    return instance(rows, reward, test)


def lead(case: Instance) -> float:
    return case.advantage(vote(case.mixture))


def below(top: float) -> Array:
    return top * np.geomspace(0.9, 1e-3, 40)  # at the bound itself an advantage may be zero, and rounding decides


@settings(max_examples=50)
@given(instances())
def test_1_the_mixture_itself_never_beats_the_best(case: Instance) -> None:
    assert case.value(case.mixture) == pytest.approx(np.mean([case.value(one) for one in case.experts]))
    assert case.advantage(case.mixture) <= SLACK
    assert case.advantage(powers(case.mixture, 1.0)) <= 1e-9


def test_1_does_not_hold_of_exponentials() -> None:
    """One expert, always wrong: the softmax of its probabilities is right in 1 / (1 + e) of all cases."""
    wrong = instance([[[1.0, 0.0]]], [[0.0, 1.0]], [1.0])
    assert wrong.advantage(powers(wrong.mixture, 1.0)) == 0
    assert wrong.advantage(exponentials(wrong.mixture, 1.0)) == pytest.approx(1 / (1 + np.e))


@BOTH
@settings(max_examples=100)
@given(instances())
def test_2_low_temperatures_do_what_the_vote_does(sharpen: Sharpen, case: Instance) -> None:
    assume(abs(lead(case)) > CLEAR)
    top = bound(case, sharpen)
    assume(top > 0)
    signs = {bool(case.advantage(sharpen(case.mixture, temperature)) > 0) for temperature in below(top)}
    assert signs == {lead(case) > 0}


@BOTH
@settings(max_examples=50)
@given(instances())
def test_2_the_limit_is_the_vote(sharpen: Sharpen, case: Instance) -> None:
    ranked = np.sort(case.mixture, axis=-1)
    gaps = ranked[:, -1:] - ranked
    assume(not ((gaps > 1e-14) & (gaps < 1e-3)).any())
    assert np.abs(sharpen(case.mixture, 1e-5) - vote(case.mixture)).max() < 1e-9


def test_2_both_signs_occur() -> None:
    """The property above would hold of nothing if random instances were all alike."""
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(200):
        case = instance(rng.dirichlet(np.ones(4), (3, 3)), rng.normal(size=(3, 4)), np.full(3, 1 / 3))
        found.add(bool(lead(case) > 0))
        assert bound(case, powers) > 0
    assert found == {True, False}


def test_2_is_not_an_equivalence_where_the_vote_ties_the_best() -> None:
    """All low temperatures transcend and the vote does not: the strict inequality is lost in the limit."""
    assert lead(TIED) == pytest.approx(0, abs=SLACK)
    assert bound(TIED, powers) == 0.0
    for temperature in np.linspace(0.05, 0.45, 20):
        assert TIED.advantage(powers(TIED.mixture, temperature)) > 0
    for temperature in np.linspace(0.02, 0.09, 20):
        assert TIED.advantage(exponentials(TIED.mixture, temperature)) > 0
    # exactly, below what float64 shows: the second answer gains more than the last two lose once (18/25)^(1/t) < 1/4
    assert TIED.mixture[0].tolist() == pytest.approx([0.4, 0.25, 0.18, 0.17])


@BOTH
@settings(max_examples=50)
@given(st.integers(0, 2**32), st.floats(0.01, 0.99))
def test_3_one_noisy_expert(sharpen: Sharpen, seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    inputs, answers = rng.integers(1, 6), rng.integers(2, 7)
    reward = rng.integers(0, 4, (inputs, answers)).astype(float)
    reward[0, 0], reward[0, 1] = 0.0, 1.0  # not constant
    case = instance(noisy(optimal(reward), noise), reward, np.full(inputs, 1 / inputs))
    assert lead(case) > 0
    assert case.value(vote(case.mixture)) == pytest.approx(float(reward.max(-1).mean()))  # noise is gone entirely
    top = bound(case, sharpen)
    assert top > 0
    assert all(case.advantage(sharpen(case.mixture, temperature)) > 0 for temperature in below(top))


@BOTH
@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(2, 5))
def test_4_complementary_experts(sharpen: Sharpen, seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    inputs, answers = parts + int(rng.integers(0, 4)), int(rng.integers(2, 6))
    part = [*range(parts), *rng.integers(0, parts, inputs - parts).tolist()]
    reward = np.stack([rng.permutation(answers).astype(float) for _ in range(inputs)])
    experts = complementary(optimal(reward), part)
    case = instance(experts, reward, rng.dirichlet(np.ones(inputs) * 5))
    assert experts.shape == (parts, inputs, answers)
    assert case.value(vote(case.mixture)) == pytest.approx(float(case.test @ reward.max(-1)))
    top = bound(case, sharpen)
    assert lead(case) > 0
    assert all(case.advantage(sharpen(case.mixture, temperature)) > 0 for temperature in below(top))
    # tested on one part alone, its expert cannot be beaten
    alone = np.array([float(one == part[0]) for one in part])
    narrow = instance(experts, reward, alone / alone.sum())
    assert lead(narrow) == pytest.approx(0, abs=1e-9)


def test_the_same_error_of_all_is_not_voted_away() -> None:
    wrong = [[0.3, 0.7]]
    case = instance([wrong, wrong, wrong], [[1.0, 0.0]], [1.0])
    assert lead(case) == pytest.approx(-0.3)
    assert bound(case, powers) > 0


@BOTH
@settings(max_examples=50)
@given(instances())
def test_the_mass_of_the_likeliest_answers_falls_with_the_temperature(sharpen: Sharpen, case: Instance) -> None:
    top = vote(case.mixture) > 0
    masses = [np.where(top, sharpen(case.mixture, t), 0.0).sum(-1) for t in (0.01, 0.1, 0.5, 1.0, 3.0)]
    assert all((colder >= warmer - 1e-9).all() for colder, warmer in pairwise(masses))


@settings(max_examples=50)
@given(instances(2), st.floats(0.05, 3.0))
def test_with_two_answers_the_conventions_draw_one_curve(case: Instance, temperature: float) -> None:
    """log odds are log(a / b) / t and (a - b) / t: another temperature for each input, the same curve."""
    for row in case.mixture:
        a, b = row
        if min(a, b) < 1e-6 or abs(a - b) < 1e-6:
            continue
        other = temperature * (a - b) / np.log(a / b)
        assert powers(row, temperature) == pytest.approx(exponentials(row, other))


def test_exponentials_need_a_temperature_below_the_gap() -> None:
    """Halving all probabilities by a new unlikely answer halves it for exponentials; powers hardly notice."""
    few, many = np.array([0.6, 0.4]), np.array([0.3, 0.2, *[0.05] * 10])
    assert powers(many, 0.1)[0] == pytest.approx(powers(few, 0.1)[0], abs=1e-3)
    assert exponentials(many, 0.1)[0] < 0.5
    assert exponentials(few, 0.1)[0] > 0.85
    assert exponentials(many, 0.05)[:2] / exponentials(many, 0.05)[:2].sum() == pytest.approx(exponentials(few, 0.1))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures_that_are_none(temperature: float) -> None:
    for sharpen in (powers, exponentials):
        with pytest.raises(DataError, match="above 0"):
            sharpen(np.array([0.5, 0.5]), temperature)


@pytest.mark.parametrize(
    "parts",
    [
        ([[[0.5, 0.6]]], [[0, 1]], [1]),
        ([[[1.5, -0.5]]], [[0, 1]], [1]),
        ([[[0.5, 0.5]]], [[0, 1, 2]], [1]),
        ([[[0.5, 0.5]]], [[0, np.nan]], [1]),
        ([[[0.5, 0.5]]], [[0, 1]], [0.5]),
        ([[0.5, 0.5]], [[0, 1]], [1]),
    ],
)
def test_what_is_no_instance(parts: tuple[list[float], list[float], list[float]]) -> None:
    with pytest.raises(DataError):
        instance(*parts)
