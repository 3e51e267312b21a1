"""How a proof state is written for a language model; every proof domain uses this one layout.

premises:          only where there are any: names, or names with statements, one on each line, the likeliest last,
                   because a prompt that is too long loses its beginning
initial state:     the goals before the first tactic
tactics:           those applied so far, one on each line
current state:     the goals now
"""

from __future__ import annotations

from collections.abc import Sequence


def render(initial: str, tactics: Sequence[str], current: str, premises: Sequence[str] = ()) -> str:
    r"""Return the observation text of a proof state; each label stands on a line of its own.

    >>> render("|- A -> A", ["intro a."], "a : A\n|- A")
    'initial state:\n|- A -> A\ntactics:\nintro a.\ncurrent state:\na : A\n|- A\n'
    """
    blocks = [("initial state", (initial,)), ("tactics", tuple(tactics)), ("current state", (current,))]
    if premises:
        blocks.insert(0, ("premises", tuple(premises)))
    return "".join(f"{label}:\n" + "".join(f"{line}\n" for line in lines) for label, lines in blocks)


def offered(text: str) -> list[str]:
    r"""Return the names of the premises that an observation offers, the likeliest first.

    >>> offered(render("|- A", [], "|- A", ["le_n : forall n, n <= n", "I"]))
    ['I', 'le_n']
    """
    block, label, _ = text.partition("initial state:\n")
    if not label or not block.startswith("premises:\n"):
        return []
    return [line.split(" ", 1)[0] for line in reversed(block.splitlines()[1:]) if line]


def without_premises(text: str) -> str:
    r"""Return an observation as it is where no premises are offered.

    >>> without_premises(render("|- A", [], "|- A", ["I : True"])) == render("|- A", [], "|- A")
    True
    """
    _, label, rest = text.partition("initial state:\n")
    return label + rest if label and text.startswith("premises:\n") else text
