"""BlocksWorld in PDDL: reads and writes domain and problem files, with a parser of s-expressions.

What is read: `define`, `:requirements`, `:types` (names only), `:predicates`, `:objects`, `:init`, `:goal`, `:action`
with positive preconditions and conjunctive effects; anything else raises DataError and says what. A domain file must
state the four actions of `blocksworld_rules.SCHEMAS`, up to the names of variables and the order of literals: plans
mean the same. Case does not matter and `;` starts a comment, as in PDDL 1.2. Not here: other domains, negative goals,
quantifiers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from surpass.domains.puzzles.blocksworld_rules import ARITY, SCHEMAS, Schema, Task, World, check, show, show_all
from surpass.errors import DataError

Node = str | tuple["Node", ...]

TOKEN = re.compile(r";[^\n]*|[()]|[^\s();]+|\n")
DEEPEST = 50  # levels of parentheses; PDDL of this kind needs five


def parse(text: str) -> Node:
    """Return the one s-expression of a text, in lower case. Raises DataError with the line where it is broken.

    >>> parse("(:goal (and (on A b)))  ; a comment")
    (':goal', ('and', ('on', 'a', 'b')))
    """
    stack: list[tuple[int, list[Node]]] = [(0, [])]  # the line of its parenthesis, and what an open list holds
    line = 1
    for token in TOKEN.findall(text):
        if token == "\n":
            line += 1
        elif token == "(":
            if len(stack) > DEEPEST:
                raise DataError(f"line {line}: expected at most {DEEPEST} levels of parentheses, found more")
            stack.append((line, []))
        elif token == ")":
            if len(stack) == 1:
                raise DataError(f"line {line}: expected '(' before ')', found ')' that closes nothing")
            _, closed = stack.pop()
            stack[-1][1].append(tuple(closed))
        elif not token.startswith(";"):
            stack[-1][1].append(token.lower())
    if len(stack) > 1:
        raise DataError(f"line {stack[-1][0]}: expected ')', found the end of the text: '(' is never closed")
    if len(stack[0][1]) != 1 or isinstance(stack[0][1][0], str):
        raise DataError(f"expected one list in parentheses, found {len(stack[0][1])} expressions: {text[:80]!r}")
    return stack[0][1][0]


def write(node: Node) -> str:
    """Return the text of an s-expression, on one line."""
    return node if isinstance(node, str) else f"({' '.join(map(write, node))})"


def read_problem(text: str) -> Task:
    """Return the task of a PDDL problem file. Raises DataError for what is not one of BlocksWorld."""
    name, parts = _define(text, "problem")
    known = {":domain", ":requirements", ":objects", ":init", ":goal"}
    fields: dict[str, tuple[Node, ...]] = {}
    for kind, *rest in parts:
        if not isinstance(kind, str) or kind not in known or kind in fields:
            raise DataError(
                f"problem {name}: expected {', '.join(sorted(known))} once each, found {write(kind)[:80]!r}"
            )
        fields[kind] = tuple(rest)
    missing = {":objects", ":init", ":goal"} - fields.keys()
    if missing:
        raise DataError(f"problem {name}: expected {', '.join(sorted(missing))}, found none")
    if len(fields[":goal"]) != 1:
        raise DataError(f"problem {name}: expected one goal, (and ...) of atoms, found {len(fields[':goal'])}")
    blocks = _names(fields[":objects"], "objects")
    init = frozenset(_atom(node) for node in fields[":init"])
    return check(Task(tuple(sorted(blocks)), init, _conjunction(fields[":goal"][0]), name))


def write_problem(task: Task) -> str:
    """Return a task as a PDDL problem file."""
    init, goal = ("".join(f"\n    {line}" for line in sorted(map(show, atoms))) for atoms in (task.init, task.goal))
    blocks = " ".join(task.blocks)
    return (
        f"(define (problem {task.name})\n  (:domain blocksworld)\n  (:objects {blocks})\n"
        f"  (:init{init})\n  (:goal (and{goal})))\n"
    )


def read_domain(text: str) -> tuple[Schema, ...]:
    """Return the actions of a PDDL domain file, sorted by name.

    Raises DataError where they are not BlocksWorld's four.
    """
    name, parts = _define(text, "domain")
    found: list[Schema] = []
    for kind, *rest in parts:
        if kind == ":action":
            found.append(_action(rest))
        elif kind not in (":requirements", ":types", ":predicates"):
            expected = ":requirements, :types, :predicates and :action"
            raise DataError(f"domain {name}: expected {expected}, found {write(kind)[:80]!r}")
    ours = {schema.name: _anonymous(schema) for schema in SCHEMAS}
    names = sorted(schema.name for schema in found)
    if names != sorted(ours):
        raise DataError(
            f"domain {name}: expected the actions {', '.join(sorted(ours))}, found {', '.join(names)[:200]}"
        )
    for schema in found:
        if (one := _anonymous(schema)) != ours[schema.name]:
            raise DataError(f"domain {name}: expected {_describe(ours[schema.name])}; found {_describe(one)[:400]}")
    return tuple(sorted(found, key=lambda schema: schema.name))


def write_domain() -> str:
    """Return BlocksWorld as a PDDL domain file, from `blocksworld_rules.SCHEMAS`."""
    predicates = " ".join(show((name, *("?x", "?y")[:arity])) for name, arity in ARITY.items())
    lines = ["(define (domain blocksworld)", "  (:requirements :strips)", f"  (:predicates {predicates})"]
    for schema in SCHEMAS:
        needs, adds = (" ".join(sorted(map(show, atoms))) for atoms in (schema.needs, schema.adds))
        deletes = " ".join(f"(not {line})" for line in sorted(map(show, schema.deletes)))
        lines.append(f"  (:action {schema.name}\n    :parameters ({' '.join(schema.variables)})")
        lines.append(f"    :precondition (and {needs})\n    :effect (and {adds} {deletes}))")
    return "\n".join(lines) + ")\n"


def _define(text: str, kind: str) -> tuple[str, list[tuple[Node, ...]]]:
    """Return the name and the parts of `(define (kind name) part ...)`; no part is empty."""
    match parse(text):
        case ("define", (str(found), str(name)), *parts) if found == kind:
            lists = [part for part in parts if isinstance(part, tuple) and part]
            if len(lists) == len(parts):
                return name, lists
            raise DataError(f"{kind} {name}: expected parts in parentheses, found a bare word or ()")
        case node:
            raise DataError(f"expected (define ({kind} NAME) ...), found {write(node)[:80]!r}")


def _names(nodes: Sequence[Node], what: str) -> list[str]:
    """Return a list of names without its types: `a b - block c`."""
    names: list[str] = []
    typed = False
    for node in nodes:
        if not isinstance(node, str):
            raise DataError(f"expected names of {what}, found {write(node)[:80]!r}")
        if typed:
            typed = False
        elif node == "-":
            typed = True
        else:
            names.append(node)
    if typed or len(set(names)) < len(names):
        raise DataError(
            f"expected different names of {what}, types after '-', found {' '.join(map(write, nodes))[:80]!r}"
        )
    return names


def _atom(node: Node) -> tuple[str, ...]:
    words = [word for word in node if isinstance(word, str)] if isinstance(node, tuple) else []
    if not words or len(words) < len(node) or words[0] in ("and", "not", "or", "=", "forall", "exists", "when"):
        raise DataError(f"expected an atom such as (on a b), found {write(node)[:80]!r}")
    return tuple(words)


def _conjunction(node: Node) -> World:
    if isinstance(node, tuple) and node[:1] == ("and",):
        return frozenset(map(_atom, node[1:]))
    return frozenset([_atom(node)])


def _action(nodes: Sequence[Node]) -> Schema:
    match nodes:
        case (str(name), ":parameters", tuple(variables), ":precondition", needs, ":effect", effect):
            inner = effect[1:] if effect[:1] == ("and",) else (effect,)
            deletes = [one[1] for one in inner if isinstance(one, tuple) and len(one) == 2 and one[0] == "not"]
            adds = [one for one in inner if not (isinstance(one, tuple) and one[:1] == ("not",))]
            if len(adds) + len(deletes) < len(inner):
                raise DataError(f"action {name}: expected (not ATOM) in the effect, found {write(effect)[:80]!r}")
            names = tuple(_names(variables, "parameters"))
            return Schema(name, names, _conjunction(needs), _atoms(adds), _atoms(deletes))
    raise DataError(
        "expected (:action NAME :parameters (...) :precondition (...) :effect (...)), "
        f"found {' '.join(map(write, nodes))[:80]!r}"
    )


def _atoms(nodes: Iterable[Node]) -> World:
    return frozenset(map(_atom, nodes))


def _describe(schema: Schema) -> str:
    parts = {"needs": schema.needs, "adds": schema.adds, "deletes": schema.deletes}
    return f"{schema.name} that " + ", ".join(f"{verb} {show_all(atoms)}" for verb, atoms in parts.items())


def _anonymous(schema: Schema) -> Schema:
    """Return a schema with its variables numbered in order; others stay and make it different."""
    numbers = {variable: f"?{place}" for place, variable in enumerate(schema.variables)}

    def rename(atoms: World) -> World:
        return frozenset((name, *(numbers.get(word, word) for word in words)) for name, *words in atoms)

    return Schema(
        schema.name, tuple(numbers.values()), rename(schema.needs), rename(schema.adds), rename(schema.deletes)
    )
