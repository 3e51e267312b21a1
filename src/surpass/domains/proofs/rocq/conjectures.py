"""Conjectures from known lemmas: each is a mutation that Rocq itself carried out, so it is well-typed as it stands.

    specialise   a variable becomes a small term, or two variables become one:   fun x => @lemma x 0
    generalise   a constant, or one occurrence of a variable, becomes a variable; or a hypothesis is dropped
    swap         an equation rewrites the conclusion or a hypothesis
    compose      another lemma before a hypothesis (P -> Q, then Q -> C), or behind the conclusion (B, then B -> D)

The first and last are terms whose type is the conjecture, the others tactics whose goal it is, closed again over what
was introduced. Nothing is known of its truth but for the terms: it must be proved afresh (`conjecturing.py`). Ideas:
Alchemy (Wu et al. 2024, arXiv 2410.15748) for mutation by rewriting and application, STP (Dong and Ma 2025, arXiv
2502.00212) for keeping what a prover barely proves. Not here: conjectures that a model writes.

A conjecture is dropped where it does not survive its own printing, where one of two tactics closes it (`trivial`), or
where it restates a lemma of the corpus: statements are compared as Rocq prints them, up to names of bound variables.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random

from surpass.core import Problem
from surpass.domains.proofs.rocq.protocol import CommandFailed, Exhausted, Goals, Limits, Toplevel
from surpass.domains.proofs.rocq.prove_file import open_problems
from surpass.domains.proofs.rocq.session import Source, sentences
from surpass.errors import DataError, VerifierError
from surpass.rollouts.seeds import derive_seed

KINDS = ("specialise", "generalise", "swap", "compose")
PACKAGE = "Conjectured"  # logical name of the folder that conjectures are written into
_TERMS = ("0", "1", "true", "false", "nil", "None", "tt")  # what a variable is specialised to, where it fits;
_OF_SORT = {"Type": ("nat", "bool"), "Set": ("nat", "bool"), "Prop": ("True", "False")}  # and one that is a type
_CONSTANTS = frozenset({"0", "1", "2", "true", "false", "nil", "[]", "None", "tt", "True", "False"})
Made = tuple[str, ...]  # statement, partner if any, term or tactic
_SCOPE = re.compile(
    r"(?:(?:Local|Global)\s+)?(?:Require|From|Import|Export|Open\s+Scope|Set\s+(?:Strict\s+)?Implicit|Unset\s+Strict)\b"
)
_REVERT = "repeat match goal with h : _ |- _ => revert h end."
_TRIVIAL = "solve [intros; assumption | intros; reflexivity]."
_BOUND = re.compile(r"\(([\w' ]+?)\s*:|\b(?:forall|exists|fun)\s+([\w' ]+?)\s*[:,]")
_WORD = re.compile(r"[^\W\d][\w']*")
_TOKEN = re.compile(r"\[\]|[\w']+")


@dataclass(frozen=True, slots=True)
class Conjecture:
    """A statement, and where it comes from."""

    statement: str  # closed, as Rocq prints it
    mutation: str  # of KINDS
    parents: tuple[str, ...]  # lemmas; the first was mutated, the second helped
    how: str  # the term, or the tactic


@dataclass(frozen=True, slots=True)
class Mutated:
    """What became of the lemmas of one source file."""

    source: Source
    header: tuple[str, ...]  # sentences under which the statements mean what they say
    conjectures: tuple[Conjecture, ...]
    stated: frozenset[str]  # canonical forms of the file's own lemmas, held out or not
    dropped: Counter[str] = field(default_factory=Counter)  # why mutants were dropped


@dataclass(frozen=True, slots=True)
class MutationOptions:
    """How much is tried."""

    each: int = 2  # conjectures of a lemma by each kind of mutation, at most
    partners: int = 12  # other lemmas tried with each lemma
    max_chars: int = 240  # of a statement
    seed: int = 0
    deadline: float = 10.0  # seconds for one sentence


def mutate(
    source: Source,
    lemmas: Sequence[Problem],
    seeds: Sequence[Problem],
    *,
    partners: Sequence[Problem],
    options: MutationOptions = MutationOptions(),
) -> Mutated:
    """Mutate the lemmas `seeds` of a file, with the help of `partners`; `lemmas` are all that the corpus has of it.

    Raises VerifierError without a prover, ProcessDied where one ends.
    """
    with Toplevel(PACKAGE, source.options, Limits(call=max(120.0, options.deadline))) as top:
        header = _header(top, source)
        top.patience = options.deadline
        work = _Workbench(top, options, [str(one.data["name"]) for one in lemmas])
        helping = [str(one.data["name"]) for one in partners]
        for name in [str(one.data["name"]) for one in seeds]:
            work.mutate(name, [other for other in helping if other != name])
        return Mutated(source, tuple(header), tuple(work.found), work.stated, work.dropped)


def novel(found: Sequence[Mutated]) -> list[Mutated]:
    """Leave out what a lemma of any of the files states, and what came up before."""
    seen = {form for one in found for form in one.stated}
    kept = []
    for one in found:
        chosen = []
        for conjecture in one.conjectures:
            form = canonical(conjecture.statement)
            if form in seen:
                one.dropped["stated elsewhere"] += 1
            else:
                seen.add(form)
                chosen.append(conjecture)
        kept.append(replace(one, conjectures=tuple(chosen)))
    return kept


def pose(found: Mutated, folder: Path, parents: Sequence[Problem]) -> list[Problem]:
    """Write the conjectures of a file as open lemmas into a folder, and return them as problems.

    Each may rest on the axioms that the human proofs of its parents may rest on (`parents` are problems that include
    them). None can be named in the proof of another. Raises DataError where Rocq does not take the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = found.source.top.replace(".", "_")
    told = [*found.header]
    for number, one in enumerate(found.conjectures):
        told += [f"(* {one.mutation} of {' and '.join(one.parents)} *)", f"Lemma conjecture_{number} :"]
        told += [f"  {one.statement}.", "Proof.", "Abort."]
    words = [f'"{word}"' if re.search(r"\s", word) else word for word in found.source.options]
    project = " ".join([f"-Q . {PACKAGE}", *words])
    (folder / "_CoqProject").write_text(f"{project}\n", encoding="utf-8")
    path = folder / f"{stem}.v"
    path.write_text("\n".join(told) + "\n", encoding="utf-8")
    problems, skipped = open_problems(path, folder)
    if skipped or len(problems) != len(found.conjectures):
        why = "; ".join(f"line {one.line}: {one.reason}" for one in skipped[:3])
        raise DataError(
            f"expected {len(found.conjectures)} open lemmas in {path}, found {len(problems)} ({why}); the library that "
            "its header loads must be the one that the corpus was extracted from"
        )
    allowed = {str(one.data["name"]): list(one.data.get("assumptions", ())) for one in parents}
    posed = []
    for problem, one in zip(problems, found.conjectures, strict=True):
        assumptions = sorted({axiom for name in one.parents for axiom in allowed.get(name, ())})
        origin = {"mutation": one.mutation, "parents": list(one.parents), "how": one.how}
        posed.append(replace(problem, data={**problem.data, "assumptions": assumptions, "conjecture": origin}))
    return posed


def canonical(statement: str) -> str:
    """Return a statement with its bound variables numbered in the order in which they appear.

    >>> canonical("forall (A : Type) (l m : list A), l ++ m = m") == canonical(
    ...     "forall (B : Type) (m n : list B), m ++ n = n"
    ... )
    True
    """
    bound = {name for found in _BOUND.finditer(statement) for name in (found[1] or found[2]).split()}
    numbers: dict[str, str] = {}

    def numbered(found: re.Match[str]) -> str:
        name = found[0]
        return numbers.setdefault(name, f"_{len(numbers)}") if name in bound else name

    return " ".join(_WORD.sub(numbered, statement).split())


def _header(top: Toplevel, source: Source) -> list[str]:
    """Load the file and what it had loaded and opened itself; return the sentences that ran."""
    ran = list[str]()
    own = [] if source.noinit else [f"Require Import {source.top}."]
    read = [text for text in sentences(source.file) if _SCOPE.match(text)]
    for text in dict.fromkeys([*(one for one in read if "Require" in one), *own, *read, "Set Printing Depth 200."]):
        with suppress(CommandFailed, Exhausted):  # `Import` of a module that only the file itself can see
            top.run(text)
            ran.append(" ".join(text.split()))
    return ran


class _Workbench:
    """A prover with a library loaded, on which lemmas are mutated one after the other."""

    def __init__(self, top: Toplevel, options: MutationOptions, stated: Sequence[str]) -> None:
        """Open the bench; `stated` names lemmas that no mutant may restate."""
        self._top, self._options, self._base = top, options, top.tip
        self.found: list[Conjecture] = []
        self.dropped: Counter[str] = Counter()
        self._variables = cache(self._bound)
        self.stated = frozenset(canonical(form) for name in stated if (form := self._type(f"@{name}")))
        self._seen = set(self.stated)

    def mutate(self, name: str, others: Sequence[str]) -> None:
        """Take in mutants of a lemma, some of each kind."""
        if not self._variables(name):
            self.dropped["lemmas without variables, or without a name outside their file"] += 1
            return
        rng = Random(derive_seed(self._options.seed, "conjectures", name))
        partners = rng.sample(others, min(self._options.partners, len(others)))
        kinds: dict[str, Iterator[Made]] = {
            "specialise": self._specialised(name, rng),
            "generalise": self._generalised(name, rng),
            "swap": self._swapped(name, partners),
            "compose": self._composed(name, partners),
        }
        for kind, made in kinds.items():
            fresh = (Conjecture(one[0], kind, (name, *one[1:-1]), one[-1]) for one in made)
            for one in islice(filter(self._says_something_new, fresh), self._options.each):
                self.found.append(one)

    def _says_something_new(self, made: Conjecture) -> bool:
        form, reason = canonical(made.statement), ""
        if len(made.statement) > self._options.max_chars or "..." in made.statement or "?" in made.statement:
            reason = "too long, or with holes"
        elif form in self._seen:
            reason = "stated before"
        else:
            self._seen.add(form)
            reason = self._trouble(made.statement)
        self.dropped[reason] += bool(reason)
        return not reason

    def _trouble(self, statement: str) -> str:
        """Return why a statement is no conjecture; empty where it is one."""
        stated = False
        try:
            self._top.edit_at(self._base)
            goals = self._top.run(f"Lemma conjecture : {statement}.")
            if goals is None or [one.text for one in goals.focused] != [f"|- {statement}"]:
                return "not what it prints"
            stated = True
            self._top.run(_TRIVIAL)
            return "trivial"
        except (CommandFailed, Exhausted):
            return "" if stated else "does not parse again"

    def _posed(self, term: str) -> Goals | None:
        """Open a proof of the type of a term, at the base; None where it has none."""
        self._top.edit_at(self._base)
        with suppress(CommandFailed, Exhausted):
            return self._top.run(f"Goal ltac:(let t := type of ({term}) in let t := eval cbv beta in t in exact t).")
        return None

    def _type(self, term: str) -> str:
        goals = self._posed(term)
        return goals.focused[0].conclusion if goals else ""

    def _bound(self, name: str) -> tuple[str, ...]:
        """Return the names of a lemma's variables and hypotheses, in order; none where it cannot be posed."""
        return tuple(_names(goals)) if (goals := self._introduced(name)) else ()

    def _introduced(self, name: str) -> Goals | None:
        if self._posed(f"@{name}") is None:
            return None
        with suppress(CommandFailed, Exhausted):
            return self._top.run("intros.")
        return None

    def _specialised(self, name: str, rng: Random) -> Iterator[Made]:
        """Yield (statement, term): a variable becomes an earlier one, or a small term."""
        goals = self._introduced(name)
        if goals is None:
            return
        variables, sorts = self._variables(name), dict(_hypotheses(goals))
        tries = [
            (at, term)
            for at, one in enumerate(variables)
            for term in (*variables[:at], *_OF_SORT.get(sorts[one], _TERMS))
            if not one.startswith("H")
        ]
        rng.shuffle(tries)
        for at, term in tries:
            before = " ".join(variables[:at])
            made = f"fun {before} => @{name} {before} ({term})" if before else f"@{name} ({term})"
            if statement := self._type(made):
                yield statement, made

    def _generalised(self, name: str, rng: Random) -> Iterator[Made]:
        """Yield (statement, tactic) of goals that would prove the lemma."""
        goals = self._introduced(name)
        seen = Counter(_TOKEN.findall(goals.focused[0].conclusion if goals else ""))
        tactics = [f"generalize {token}." for token in seen if token in _CONSTANTS]
        tactics += [f"generalize {one} at 1." for one in self._variables(name) if seen[one] > 1]
        tactics += [f"clear {one}." for one in self._variables(name)]
        rng.shuffle(tactics)
        for tactic, statement in self._after(name, tactics):
            yield statement, tactic

    def _swapped(self, name: str, partners: Sequence[str]) -> Iterator[Made]:
        """Yield (statement, partner, tactic): an equation was used once."""
        places = ["", *(f" in {one}" for one in self._variables(name) if one.startswith("H"))]
        for partner in partners:
            tactics = [f"rewrite {arrow}{partner}{place}." for place in places for arrow in ("", "<- ")]
            for tactic, statement in self._after(name, tactics):
                yield statement, partner, tactic

    def _composed(self, name: str, partners: Sequence[str]) -> Iterator[Made]:
        """Yield (statement, partner, term): a hypothesis follows from another one, or the conclusion gives another."""
        variables = self._variables(name)
        whole = " ".join(variables)
        fresh = next(word for word in ("p", "p0", "p1", "p2", "p3", "p4") if word not in variables)
        for partner in partners:
            for premise in _premises(self._variables(partner)):
                blanks = " ".join("_" * premise)
                terms = [f"fun {whole} => @{partner} {blanks} (@{name} {whole})"]
                for at in _premises(variables):
                    before = " ".join(variables[:at])
                    terms.append(f"fun {before} {fresh} => @{name} {before} (@{partner} {blanks} {fresh})")
                for term in terms:
                    if statement := self._type(term):
                        yield statement, partner, term

    def _after(self, name: str, tactics: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield each tactic that leaves one goal of a lemma's, with that goal closed again."""
        for tactic in tactics:
            if self._introduced(name) is None:
                return
            with suppress(CommandFailed, Exhausted):
                goals = self._top.run(tactic)
                if goals is None or len(goals.focused) != 1:
                    continue
                goals = self._top.run(_REVERT)
                if goals is not None and len(goals.focused) == 1 and not (goals.shelved or goals.focused[0].hyps):
                    yield tactic, goals.focused[0].conclusion


def _premises(variables: Sequence[str]) -> list[int]:
    """Return which places are hypotheses: Rocq's own names for them, and most human ones, begin with H."""
    return [at for at, name in enumerate(variables) if name.startswith("H")]


def _names(goals: Goals) -> list[str]:
    """Return the names in the context of the first goal, in order."""
    return [name for name, _ in _hypotheses(goals)]


def _hypotheses(goals: Goals) -> Iterator[tuple[str, str]]:
    """Yield the names in the context of the first goal with their types, in order."""
    for hyp in goals.focused[0].hyps:
        names, _, kind = hyp.partition(" : ")
        yield from ((name.strip(), kind) for name in names.split(","))


def seeds_of(problems: Sequence[Problem], n: int, seed: int) -> list[Problem]:
    """Return `n` of the problems, drawn by a seed and kept in their order; all where there are no more.

    Raises VerifierError for problems that do not say where they stand.
    """
    if missing := [one.key for one in problems if not {"name", "file", "top"} <= one.data.keys()]:
        raise VerifierError(f"expected problems of a Rocq corpus, found {missing[0]} without its place")
    if not n or n >= len(problems):
        return list(problems)
    chosen = set(Random(derive_seed(seed, "seeds")).sample(range(len(problems)), n))
    return [problem for at, problem in enumerate(problems) if at in chosen]
