"""Black-box optimisers of others as principals: BoTorch, Optuna and cmaes, each with a model of its own per context.

    bayesian   a Gaussian process and noisy expected improvement in its numerically sound form, qLogNEI (Ament et al.
               2023, arXiv 2310.20708); a Sobol design first
    tpe        tree-structured Parzen estimator (Bergstra et al. 2011), as Optuna sets it
    cma_es     covariance matrix adaptation (Hansen 2016, arXiv 1604.00772); a generation is several terms

They see rates scaled to [0, 1] and welfare, nothing else. Needs the extra `economy`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch

from surpass.domains.economy.principals.principal import ByContext, Learner, Learning, Principal, Rates
from surpass.domains.economy.society import Context, Rate, Society, Term
from surpass.errors import ConfigError
from surpass.rollouts.seeds import derive_seed

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

CANDIDATES, RESTARTS, DRAWS = 64, 2, 32  # of the acquisition's optimiser; samples of its integral


def _unit(rates: Rates, ranges: Sequence[Rate]) -> list[float]:
    """Return rates scaled to [0, 1]."""
    return [(one - rate.low) / (rate.high - rate.low) for one, rate in zip(rates, ranges, strict=True)]


def _scaled(unit: Sequence[float], ranges: Sequence[Rate]) -> Rates:
    """Return numbers from [0, 1] as rates; what rounding takes out of range is put back."""
    found = (rate.low + float(one) * (rate.high - rate.low) for one, rate in zip(unit, ranges, strict=True))
    return tuple(min(max(one, rate.low), rate.high) for one, rate in zip(found, ranges, strict=True))


def _principal(society: Society, seed: int, begin: Callable[[int], Learner], *, needs: str) -> Principal:
    """Return a principal with a learner for each context; `begin` takes the seed of one.

    Raises ConfigError where the package that it needs is missing.
    """
    if find_spec(needs) is None:
        raise ConfigError(f"this principal needs {needs}; pip install 'surpass[economy]'")
    return Learning(lambda: ByContext(lambda known: begin(derive_seed(seed, repr(known)))), seed=seed)


class Bayesian:
    """Bayesian optimisation of one context."""

    def __init__(self, rates: tuple[Rate, ...], initial: int, seed: int) -> None:
        self._rates, self._initial = rates, initial
        sobol = torch.quasirandom.SobolEngine(len(rates), scramble=True, seed=seed % 2**31)  # type: ignore[no-untyped-call]
        self._design = sobol.draw(initial, dtype=torch.float64)
        self._points, self._welfare = list[list[float]](), list[float]()

    def learn(self, term: Term, *, seed: int) -> None:
        self._points.append(_unit(term.rates, self._rates))
        self._welfare.append(term.metrics.welfare)

    def choose(self, context: Context, *, seed: int) -> Rates:
        if len(self._points) < self._initial:
            return _scaled(self._design[len(self._points)].tolist(), self._rates)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _scaled(_improve(self._points, self._welfare, seed), self._rates)


def _improve(points: list[list[float]], welfare: list[float], seed: int) -> list[float]:
    """Return the point in [0, 1]^d where an improvement on what is known is expected most."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gpytorch compiles with torch.jit; fits warn where they restart
        from botorch.acquisition.logei import qLogNoisyExpectedImprovement
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.optim.optimize import optimize_acqf
        from botorch.sampling.normal import SobolQMCNormalSampler
        from gpytorch.mlls import ExactMarginalLogLikelihood

        known = torch.tensor(points, dtype=torch.float64)
        found = torch.tensor(welfare, dtype=torch.float64)[:, None]
        model = SingleTaskGP(known, (found - found.mean()) / found.std().clamp(min=1e-9), outcome_transform=None)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        sampler = SobolQMCNormalSampler(torch.Size([DRAWS]), seed=seed % 2**31)
        worth = qLogNoisyExpectedImprovement(model, known, sampler=sampler, prune_baseline=True)
        bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, known.shape[1])
        best, _ = optimize_acqf(worth, bounds, q=1, num_restarts=RESTARTS, raw_samples=CANDIDATES)
    chosen: list[float] = best[0].tolist()
    return chosen


class Parzen:
    """Optuna's TPE of one context: each answer comes from a new sampler that is handed all trials."""

    def __init__(self, rates: tuple[Rate, ...], startup: int) -> None:
        self._rates, self._startup = rates, startup
        self._trials: list[FrozenTrial] = []

    def learn(self, term: Term, *, seed: int) -> None:
        from optuna.trial import create_trial

        params = dict(zip(self._spaces(), _unit(term.rates, self._rates), strict=True))
        self._trials.append(create_trial(params=params, distributions=self._spaces(), value=term.metrics.welfare))

    def choose(self, context: Context, *, seed: int) -> Rates:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(n_startup_trials=self._startup, seed=seed % 2**31)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(self._trials)
        params = study.ask(self._spaces()).params
        return _scaled([params[name] for name in self._spaces()], self._rates)

    def _spaces(self) -> dict[str, BaseDistribution]:
        from optuna.distributions import FloatDistribution

        return {rate.name: FloatDistribution(0.0, 1.0) for rate in self._rates}


class Evolution:
    """CMA-ES of one context. A generation is drawn whole, so that equal histories find it in equal states."""

    def __init__(self, rates: tuple[Rate, ...], sigma: float, seed: int) -> None:
        from cmaes import CMA

        bounds = np.tile([0.0, 1.0], (len(rates), 1))
        self._rates = rates
        self._cma = CMA(np.full(len(rates), 0.5), sigma, bounds=bounds, seed=seed % 2**32)
        self._done = list[tuple[np.ndarray, float]]()
        self._draw()

    def _draw(self) -> None:
        self._generation = [self._cma.ask() for _ in range(self._cma.population_size)]

    def learn(self, term: Term, *, seed: int) -> None:
        self._done.append((np.array(_unit(term.rates, self._rates)), -term.metrics.welfare))
        if len(self._done) == self._cma.population_size:
            self._cma.tell(self._done)
            self._done = []
            self._draw()

    def choose(self, context: Context, *, seed: int) -> Rates:
        return _scaled(self._generation[len(self._done)].tolist(), self._rates)


def bayesian(society: Society, *, seed: int, initial: int | None = None) -> Principal:
    """Return Bayesian optimisation after `initial` terms of a Sobol design in each context, by default rates + 1."""
    first = len(society.rates) + 1 if initial is None else initial
    if first < 2:
        raise ConfigError(f"initial: expected 2 or more, found {first}")
    return _principal(society, seed, lambda own: Bayesian(society.rates, first, own), needs="botorch")


def tpe(society: Society, *, seed: int, startup: int = 10) -> Principal:
    """Return Optuna's TPE after `startup` random terms in each context."""
    if startup < 1:
        raise ConfigError(f"startup: expected 1 or more, found {startup}")
    return _principal(society, seed, lambda own: Parzen(society.rates, startup), needs="optuna")


def cma_es(society: Society, *, seed: int, sigma: float = 0.3) -> Principal:
    """Return CMA-ES from the middle of all ranges, with a first standard deviation of `sigma` of them."""
    if not sigma > 0:
        raise ConfigError(f"sigma: expected a number above 0, found {sigma}")
    return _principal(society, seed, lambda own: Evolution(society.rates, sigma, own), needs="cmaes")
