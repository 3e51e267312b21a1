"""A search, started again and again until its budget is spent: how searches of any shape use up equal budgets.

A beam ends when its last level is done, `sample` after its n rollouts; at equal budgets they would then be compared by
what they leave unused. A policy that samples says something else the next time, so another round is worth its price.
"""

from __future__ import annotations

from surpass.core import BudgetSpent, Conversation, Domain, Problem, Search, State, Trajectory
from surpass.search.expand import check


def again(
    domain: Domain[State],
    problem: Problem,
    state: State,
    *,
    search: Search[State],
    rounds: int = 64,
    solutions: int = 1,
) -> Conversation[None]:
    """Run `search` up to `rounds` times and yield up to `solutions` proofs of different actions, each as it is found.

    Where none is found it yields the last record of the last round. `info["round"]` is the round, from 0. A search
    that met the end of the budget is not started again.
    """
    check("again", rounds=rounds, solutions=solutions)
    found, last, spent = set[tuple[str, ...]](), None, False
    for number in range(rounds):
        conversation = search(domain, problem, state)
        try:
            said = next(conversation)
            while True:
                if isinstance(said, Trajectory):
                    record = Trajectory(said.problem, said.steps, said.verdict, {**said.info, "round": number})
                    last = record
                    if record.solved and record.actions not in found:
                        found.add(record.actions)
                        yield record
                        if len(found) == solutions:
                            conversation.close()
                            return
                    said = next(conversation)
                    continue
                try:
                    answer = yield said
                except BudgetSpent as message:
                    spent = True
                    said = conversation.throw(message)
                else:
                    said = conversation.send(answer)
        except StopIteration:
            pass
        except BudgetSpent:  # the search does not catch it
            spent = True
        if spent:
            break
    if not found and last is not None:
        yield last
