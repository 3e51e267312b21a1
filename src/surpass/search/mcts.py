"""Monte-Carlo tree search: PUCT over a policy's actions, for one seat that wants a proof or several that play a game.

    simulate   select a path, play its last action, evaluate what it leads to, back the value up     (`tree.py`)
    evaluate   priors and values: a head or an estimate of progress, or rollouts                     (`evaluate.py`)

AlphaZero (arXiv 1712.01815) for games, HyperTree Proof Search (arXiv 2205.11491) for what search adds to a prover. Each
node belongs to the seat of its observation, which maximises its own entry of the returns: no sign is flipped, so any
number of seats will do. `leaves` paths are chosen before any is answered, and each kind of ask goes out once for all
of them, so one problem fills a batch. Actions are played when first visited, not all at once: what the verifier is
asked is what the search wanted to know.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic

from surpass.core import (
    BudgetSpent,
    Conversation,
    Domain,
    Lost,
    Problem,
    State,
    Status,
    Step,
    Trajectory,
    Verdict,
    apply,
)
from surpass.rollouts.seeds import derive_seed
from surpass.search.evaluate import Evaluate, by_rollouts
from surpass.search.expand import check, unsolved
from surpass.search.tree import Edge, Path, Spot, back_up, best_line, reaches, refresh, select, visits, widen


@dataclass(frozen=True, slots=True)
class Noise:
    """Dirichlet noise on the priors of the root, so that self-play explores: P <- (1 - share) P + share * Dir(alpha).

    It depends on `seed` and the problem's key alone: give each pass over the problems a seed of its own.
    """

    seed: int
    share: float = 0.25
    alpha: float = 0.3


def mcts(  # noqa: PLR0913 - every limit is one that experiments compare
    domain: Domain[State],
    problem: Problem,
    state: State,
    *,
    simulations: int = 128,
    leaves: int = 8,
    evaluate: Evaluate[State] = by_rollouts,
    c_puct: float = 1.5,
    max_depth: int = 128,
    solutions: int = 1,
    noise: Noise | None = None,
    win: float = 1.0,
) -> Conversation[None]:
    """Run up to `simulations` simulations from `state` and yield what they found.

    With one seat: up to `solutions` accepted trajectories, as the tree or a rollout finds them; without any, one that
    is REJECTED and has no steps if all actions considered were tried (info["end"] "exhausted", or "depth" where
    `max_depth` cut paths short), else the line of best play so far, UNKNOWN ("simulations", "budget"). With several
    seats: the line of best play, with the verdict it ends in, or UNKNOWN; the search stops early once the root is
    settled. `win` is the most that a seat can get.

    `info` holds "visits", one dict of action counts for each step (of the root alone where there are no steps; empty
    for steps of a rollout), and counts of simulations, merged, unknown and lost nodes; without a proof also "value",
    the mean returns of the root, and "settled". Nodes with equal keys are one. A child that is unknown or lost is not
    visited again.
    """
    check("mcts", simulations=simulations, leaves=leaves, max_depth=max_depth, solutions=solutions)
    if verdict := domain.verify(state):
        yield Trajectory(problem, (), verdict, {"end": "verdict"})
        return
    root = Spot(state, domain.observe(state))
    hunt = Hunt(domain, problem, root, max_depth, win, known={root.observation.key: root})
    counts = hunt.counts
    told, end = 0, "simulations"
    try:
        yield from hunt.evaluate([root], evaluate)
        if noise is not None:
            perturb(root, noise, problem.key)
        while len(hunt.proofs) < solutions and not root.settled and counts["simulations"] < simulations:
            yield from (proof.record(problem, counts) for proof in hunt.proofs[told:])
            told = len(hunt.proofs)
            yield from hunt.simulate(hunt.gather(leaves, simulations, c_puct), evaluate)
    except BudgetSpent:
        end = "budget"
    yield from (proof.record(problem, counts) for proof in hunt.proofs[told:solutions])
    if not hunt.proofs:
        end = ("depth" if hunt.cut else "exhausted") if root.settled else end
        yield _best_line(problem, root, end, counts)


@dataclass(frozen=True, slots=True)
class Proof(Generic[State]):
    """An accepted play: `line` as far as the tree goes, and a rollout from there."""

    line: tuple[tuple[Spot[State], Edge[State]], ...]
    steps: tuple[Step, ...]
    verdict: Verdict

    def record(self, problem: Problem, counts: dict[str, int]) -> Trajectory:
        """Return it as a trajectory with the visits so far: none of the steps of a rollout."""
        seen = [visits(spot) for spot, _ in self.line] + [{}] * (len(self.steps) - len(self.line))
        return Trajectory(problem, self.steps, self.verdict, {"end": "verdict", "visits": seen, **counts})


@dataclass(slots=True)
class Hunt(Generic[State]):
    """The graph of one search, and the asks that make it grow."""

    domain: Domain[State]
    problem: Problem
    root: Spot[State]
    max_depth: int
    win: float
    cut: bool = False  # whether max_depth closed an edge
    counts: dict[str, int] = field(
        default_factory=lambda: {"simulations": 0, "merged": 0, "unknown": 0, "lost": 0}, init=False
    )
    known: dict[str, Spot[State]] = field(default_factory=dict)  # by key of the observation
    proofs: list[Proof[State]] = field(default_factory=list, init=False)  # of different actions, as they were found

    def gather(self, leaves: int, most: int, c_puct: float) -> list[Path[State]]:
        """Return up to `leaves` paths to an action to play; those to a settled node are backed up at once.

        Ends when there have been `most` simulations in all, or when all else is waiting for an answer.
        """
        paths: list[Path[State]] = []
        while len(paths) < leaves and self.counts["simulations"] < most and not self.root.settled:
            if not (path := select(self.root, c_puct)):
                break
            self.counts["simulations"] += 1
            if path[-1][1].child is None:
                paths.append(path)
            else:
                back_up(path, self.win)
        return paths

    def simulate(self, paths: Sequence[Path[State]], evaluate: Evaluate[State]) -> Conversation[None]:
        """Play the last action of each path, evaluate the new nodes and back up."""
        states = yield from apply([(path[-1][0].state, path[-1][1].action.action) for path in paths])
        reached = [self._reach(path, after) for path, after in zip(paths, states, strict=True)]
        yield from self.evaluate([spot for spot in reached if spot is not None], evaluate)
        for path in paths:
            back_up(path, self.win, played=path[-1][1].child is not None)

    def evaluate(self, spots: Sequence[Spot[State]], evaluate: Evaluate[State]) -> Conversation[None]:
        """Give new nodes their edges and values, in one ask of each kind; keep the proofs that were met meanwhile."""
        opinions = (yield from evaluate(self.domain, self.problem, [spot.state for spot in spots])) if spots else []
        for spot, opinion in zip(spots, opinions, strict=True):
            for steps, verdict in opinion.proofs:
                self._keep(Proof(spot.line, (*spot.steps, *steps), verdict))
        if any(opinion.spent for opinion in opinions):
            raise BudgetSpent
        for spot, opinion in zip(spots, opinions, strict=True):
            widen(spot, opinion.actions, opinion.prior, opinion.values)
            refresh(spot, self.win)

    def _keep(self, proof: Proof[State]) -> None:
        """Keep what is a proof, no deeper than allowed and unlike those that are known."""
        actions = [step.proposal.action for step in proof.steps]
        known = ([step.proposal.action for step in one.steps] for one in self.proofs)
        if _proves(proof.verdict) and len(actions) <= self.max_depth and actions not in known:
            self.proofs.append(proof)

    def _reach(self, path: Path[State], after: State | Lost) -> Spot[State] | None:
        """Put what an action led to behind its edge; return it if it is new and open."""
        spot, edge = path[-1]
        verdict = None if isinstance(after, Lost) else self.domain.verify(after)
        if isinstance(after, Lost) or (verdict is not None and verdict.status is Status.UNKNOWN):
            self.counts["lost" if isinstance(after, Lost) else "unknown"] += 1
            edge.closed = True
            return None
        seen = self.domain.observe(after)
        child = Spot(after, seen, (*spot.line, (spot, edge)), verdict)
        if verdict is not None:
            child.mean, child.settled = verdict.returns, True
            edge.child = child
            if _proves(verdict):
                edge.closed = True
                self._keep(Proof(child.line, child.steps, verdict))
            return None
        if seen.key and (same := self.known.get(seen.key)) is not None:
            self.counts["merged"] += 1
            edge.child, edge.closed, edge.joins = same, reaches(same, spot), seen != same.observation
            return None
        if len(child.line) >= self.max_depth:
            self.cut = edge.closed = True
            return None
        edge.child = self.known[seen.key] = child
        return child


def _proves(verdict: Verdict) -> bool:
    """Tell whether a verdict ends a search of one seat; in a game, reaching an end is no success in itself."""
    return verdict.status is Status.ACCEPTED and len(verdict.returns) == 1


def perturb(root: Spot[State], noise: Noise, key: str) -> None:
    """Mix noise into the priors of a node."""
    chance = random.Random(derive_seed(noise.seed, "dirichlet", key))
    drawn = [chance.gammavariate(noise.alpha, 1.0) for _ in root.edges]
    total = sum(drawn)
    for edge, one in zip(root.edges, drawn, strict=True):
        edge.prior = (1 - noise.share) * edge.prior + noise.share * (one / total if total else 1 / len(drawn))


def _best_line(problem: Problem, root: Spot[State], end: str, counts: dict[str, int]) -> Trajectory:
    """Return the line of best play, or the record without steps of a search of one seat with nothing left to try."""
    line = best_line(root)
    info: dict[str, object] = {"value": list(root.mean), "settled": root.settled}
    info["visits"] = [visits(spot) for spot, _ in line] or [visits(root)]
    if root.settled and len(root.mean) < 2:
        info["visits"] = [visits(root)]
        record = unsolved("mcts", problem, end, counts, unsure=False)
        return replace(record, info={**record.info, **info})
    steps = tuple(Step(spot.observation, edge.action) for spot, edge in line)
    last = line[-1][1].child if line else None
    if last is not None and last.verdict is not None and len(last.verdict.returns) > 1:
        return Trajectory(problem, steps, last.verdict, {"end": "verdict", **info, **counts})
    return Trajectory(problem, steps, Verdict(Status.UNKNOWN, (), f"mcts: {end}"), {"end": end, **info, **counts})
