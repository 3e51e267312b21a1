"""The package's policymaker in office: a function of seed, history and context, blind to scales, better than chance."""

from pathlib import Path

import numpy as np
import pytest

from surpass.domains.economy.landscapes import landscape
from surpass.domains.economy.principals.in_context.model import Policymaker
from surpass.domains.economy.principals.in_context.principal import SHIPPED, InContext, ask_together, in_context
from surpass.domains.economy.principals.principal import PrincipalError, Rates, principal_of
from surpass.domains.economy.society import Context, Metrics, Rate, SettledRoom, Society, Surface, Term
from surpass.errors import ConfigError, ModelError

ROOM = SettledRoom()


def governed(society: Society, seed: int, terms: int = 6, temperature: float = 0.5) -> list[Term]:
    history, principal = list[Term](), in_context(society, seed=seed, temperature=temperature)
    for number in range(terms):
        context = society.context(number)
        rates = principal.ask(history, context)
        history.append(Term(rates, society.step(rates, seed=number), context))
    return history


def test_the_weights_are_small() -> None:
    assert SHIPPED.stat().st_size < 3e6


def test_answers_are_in_range_and_depend_on_seed_history_and_context_alone() -> None:
    history = governed(ROOM, 1)
    for number, past in enumerate(history):
        assert in_context(ROOM, seed=1, temperature=0.5).ask(history[:number], past.context) == past.rates
        assert all(rate.low <= value <= rate.high for rate, value in zip(ROOM.rates, past.rates, strict=True))
    assert [one.rates for one in governed(ROOM, 2, terms=3)] != [one.rates for one in history[:3]]


def test_together_is_as_alone() -> None:
    societies: list[Society] = [ROOM, Surface(), landscape(1, ["bowl"], rates=(1,)), landscape(2, ["ridge"])]
    histories = [governed(one, seed, terms=4) for seed, one in enumerate(societies)]
    contexts = [one.context(9) for one in societies]
    some = [in_context(one, seed=seed, temperature=0.3) for seed, one in enumerate(societies)]
    assert all(isinstance(one, InContext) for one in some)
    together = ask_together(some, histories, contexts)  # type: ignore[arg-type]
    asked = zip(some, histories, contexts, strict=True)
    assert together == [one.ask(history, context) for one, history, context in asked]
    assert ask_together([], [], []) == []


def test_thousands_and_thousandths_are_alike() -> None:
    surface = Surface()
    history = governed(surface, 0, terms=8)
    moved = [Term(one.rates, Metrics(5e3 + 1e3 * one.metrics.welfare), one.context) for one in history]
    principal = in_context(surface, seed=0)
    assert principal.ask(history, ()) == principal.ask(moved, ())


def test_more_terms_than_it_can_read() -> None:
    surface = Surface()
    history = governed(surface, 0, terms=8) * 8
    rates = in_context(surface, seed=0).ask(history, ())
    assert all(0 <= rate <= 1 for rate in rates)


@pytest.mark.parametrize("context", [(), (("a", 0.5),), (("a", 1.0), ("b", -3.0)), (("a", 1e9),)])
def test_contexts_of_any_kind(context: Context) -> None:
    history = [Term((0.5, 0.5), Metrics(1.0), context), Term((0.1, 0.5), Metrics(2.0), (("other", 7.0),))]
    assert len(in_context(Surface(), seed=0).ask(history, context)) == 2


def test_it_is_better_than_chance() -> None:
    def heights(name: str, **options: object) -> float:
        rows = []
        for seed in range(1000, 1012):
            one = landscape(seed, ["bowl"], rates=(1, 2, 3))
            history, principal = list[Term](), principal_of(name, one, seed=seed, **options)
            for number in range(12):
                rates: Rates = principal.ask(history, one.context(number))
                history.append(Term(rates, one.step(rates, seed=number), one.context(number)))
            rows.append([one.reached(past.rates, number) for number, past in enumerate(history[4:], start=4)])
        return float(np.mean(rows))

    assert heights("in_context", temperature=0.3) > heights("random") + 0.15


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most 5 rates, found 6"):
        in_context(Surface(best=(0.5,) * 6, curvature=tuple(map(tuple, np.eye(6).tolist()))), seed=0)
    for temperature in (-1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="temperature >= 0"):
            in_context(ROOM, seed=0, temperature=temperature)
    with pytest.raises(ConfigError, match="candidates >= 1"):
        in_context(ROOM, seed=0, candidates=0)
    with pytest.raises(ModelError, match="surpass economy policymaker"):
        in_context(ROOM, seed=0, weights=tmp_path / "none")


def test_a_model_that_names_no_rates() -> None:
    principal = InContext(Policymaker.untrained(0), (Rate("a"), Rate("b"), Rate("c")), 0, True, 2)
    with pytest.raises(PrincipalError, match="named no rates in 2 answers"):
        principal.ask([], ())
