"""What a proof rests on, asked of a live prover: axioms, section variables, checks that were switched off.

`Print Assumptions` prints the shortest name that means a thing where it is asked, so `ax` may be one axiom here and
another there. Names are therefore made full (`Locate`) before they are compared, and compared whole. Not here: what a
proof is permitted to rest on where there is a human proof beside it (`trust.beyond`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from surpass.domains.proofs.rocq.protocol import CommandFailed, Toplevel

_HEADER = re.compile(r"(Section Variables|Axioms|Theory|Opaque constants|Transparent constants):")
_NAMED = re.compile(r"(\S+)(?:\s+:.*)?")
_LOCATED = re.compile(r"(?:^| )[A-Z]\w+ ([^\s()]+)(?: \(shorter name [^()]*\))?(?: \(alias of ([^\s()]+)\))?")
_AXIOM = re.compile(r"(\S+?):(?:\s|$)")
_AXIOMS = "Search [is:Axiom | is:Parameter | is:Conjecture | is:Primitive]."
_OFF = re.compile(r"check_\w+: false|definitional uip: true")
IMPREDICATIVE = "Set is impredicative"


@dataclass(frozen=True, slots=True)
class Rests:
    """What a finished proof rests on."""

    axioms: tuple[str, ...] = ()  # full names
    variables: tuple[str, ...] = ()  # of the open sections: hypotheses of the theorem once they are closed
    extra: tuple[str, ...] = ()  # what is not permitted: axioms, and checks that were off, in Rocq's own words


def rests_on(top: Toplevel, name: str, allowed: Iterable[str]) -> Rests:
    """Return what the proof of `name`, known at the tip, rests on; `allowed` are the axioms it may use, by any name.

    A bypassed check is never permitted, a theory only where the whole process runs in it (`-impredicative-set`).
    Raises CommandFailed, Exhausted, ProcessDied.
    """
    found, variables, off = read(top.query(f"Print Assumptions {name}."))
    axioms = tuple(full_name(top, one) for one in found)
    beyond = set(axioms)
    if axioms:
        beyond -= {full_name(top, one) for one in allowed}
    if "-impredicative-set" in top.options:
        off = [line for line in off if line != IMPREDICATIVE]
    return Rests(axioms, tuple(variables), (*(one for one in axioms if one in beyond), *off))


def read(messages: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    r"""Return the axioms, the section variables and the other lines of an answer to `Print Assumptions`, as printed.

    >>> read(["Section Variables:\nA : Type\nAxioms:\nX.choice\n  : forall P, P\nf is assumed to be guarded.\n"])
    (['X.choice'], ['A'], ['f is assumed to be guarded.'])
    """
    axioms, variables, others = list[str](), list[str](), list[str]()
    section = ""
    for line in "\n".join(messages).splitlines():
        if header := _HEADER.fullmatch(line.rstrip()):
            section = header[1]
        elif line.strip() and line[0] not in " :" and line != "Closed under the global context":
            if section == "Theory" or (named := _NAMED.fullmatch(line)) is None:
                others.append(line)
            else:
                (variables if section == "Section Variables" else axioms).append(named[1])
    return axioms, variables, others


def full_name(top: Toplevel, name: str) -> str:
    """Return the full name of the constant that `name` means at the tip, that of its origin where it is an alias.

    A name that is full already means itself, whatever hides it; so does one that Rocq does not know.
    """
    try:
        told = " ".join(" ".join(top.query(f"Locate Term {name}.")).split())
    except CommandFailed:
        return name
    found = dict[str, str](_LOCATED.findall(told))
    if not found or told.startswith("No "):
        return name
    full = name if name in found else next(iter(found))
    alias = found[full]
    return full_name(top, alias) if alias and alias != name else full


def known_axioms(top: Toplevel) -> list[str]:
    """Return the full names of the axioms and parameters known at the tip."""
    printed = [found[1] for message in top.query(_AXIOMS) if (found := _AXIOM.match(message))]
    return [full_name(top, name) for name in printed]


def checks_off(top: Toplevel) -> str:
    """Return which checks of the kernel are off at the tip, as a reason; empty where all are on.

    What is proved there proves nothing, and Rocq says so of every lemma, whether its proof took advantage or not.
    """
    off = _OFF.findall("\n".join(top.query("Print Typing Flags.")))
    return f"stated where a check of the kernel is off ({', '.join(off)})" if off else ""
