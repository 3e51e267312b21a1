"""A search tree as inline SVG: one row per state, indented by depth, the tactic that led to it beside its mark.

A search reaches hundreds of states and most are refused at once: refused leaves are counted at their parent, not drawn,
and past `ROWS` the rest is counted too. The paths to accepted states are always kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from surpass.rollouts.trace import Node, SearchTree

ROWS = 90  # drawn at most, the paths to accepted states apart
ROW, INDENT, LABEL = 24, 26, 72  # pixels, pixels, characters
LETTER = 7.3  # pixels, of the style sheet's monospace size


def drawing(search: SearchTree) -> str:
    """Return the tree as one SVG element, or an empty text for an empty tree."""
    if not search.nodes:
        return ""
    nodes = {node.number: node for node in search.nodes}
    won = winning(search)
    kept = chosen(search, won)
    rows = list(_walk(search, kept))
    level = {node.number: index for index, node in enumerate(rows)}
    edges, marks = [], []
    for node in rows:
        x, y = 12 + node.depth * INDENT, level[node.number] * ROW + ROW // 2
        kind = "won" if node.number in won else escape(node.status)
        if node.parent is not None:
            top = level[node.parent] * ROW + ROW // 2 + 6
            bend = 12 + nodes[node.parent].depth * INDENT
            edges.append(f'<path class="edge {kind}" d="M{bend},{top} V{y - 6} q0,6 6,6 H{x - 6}"/>')
        marks.append(
            f'<g class="node {kind}"><title>{escape(_told(node))}</title><circle cx="{x}" cy="{y}" r="5"/>'
            f'<text x="{x + 12}" y="{y + 4}">{escape(_short(node.action) or "initial state")}'
            f'<tspan class="note" dx="10">{escape(_note(node, search, kept))}</tspan></text></g>'
        )
    edges.sort(key=lambda edge: 'edge won"' in edge)  # drawn last, so that no other line covers them
    width = max(12 + node.depth * INDENT + LETTER * (len(_short(node.action)) + 34) for node in rows)
    height = len(rows) * ROW
    return (
        f'<svg class="tree" width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}" role="img" '
        f'aria-label="search tree">{"".join((*edges, *marks))}</svg>'
    )


def winning(search: SearchTree) -> set[int]:
    """Return the numbers of all nodes on a path from the root to an accepted state."""
    parents = {node.number: node.parent for node in search.nodes}
    found = set[int]()
    for node in search.nodes:
        number = node.number if node.status == "accepted" else None
        while number is not None and number not in found:
            found.add(number)
            number = parents[number]
    return found


def chosen(search: SearchTree, won: set[int]) -> set[int]:
    """Return the numbers of the nodes to draw: winning paths, then what was expanded first, with all its ancestors."""
    leaves = {node.number for node in search.nodes} - {node.parent for node in search.nodes}
    kept = set(won) | {search.nodes[0].number}
    candidates = [n for n in search.nodes if not (n.number in leaves and n.status == "rejected")]
    candidates.sort(key=lambda n: (n.order is None, n.order or 0, n.number))
    for node in candidates:  # a parent is expanded before its children, so it stands before them
        if len(kept) >= ROWS:
            break
        if node.parent is None or node.parent in kept:
            kept.add(node.number)
    return kept


def _walk(search: SearchTree, kept: set[int]) -> Iterator[Node]:
    """Yield the kept nodes depth first, children in the order they were reached."""
    children: dict[int | None, list[Node]] = {}
    for node in search.nodes:
        if node.number in kept:
            children.setdefault(node.parent, []).append(node)
    stack = children.get(None, [])[::-1]
    while stack:
        node = stack.pop()
        yield node
        stack += children.get(node.number, [])[::-1]


def _short(action: str) -> str:
    return action if len(action) <= LABEL else action[: LABEL - 1] + "…"


def _note(node: Node, search: SearchTree, kept: set[int]) -> str:
    """Return what stands in small print beside a node: its log-probability, when it was expanded, what is not drawn."""
    hidden = [one.status for one in search.nodes if one.parent == node.number and one.number not in kept]
    refused = hidden.count("rejected")
    parts = [
        "" if node.logp is None else f"log p {node.logp:.2f}",
        "" if node.order is None else f"expansion {node.order + 1}",
        f"{refused} refused" if refused else "",
        f"{len(hidden) - refused} not drawn" if len(hidden) > refused else "",
        node.status if node.status in {"accepted", "unknown", "lost"} else "",
    ]
    return " · ".join(part for part in parts if part)


def _told(node: Node) -> str:
    """Return the tooltip of a node: the whole tactic, then the state."""
    return "\n\n".join(part for part in (node.action, node.key or node.text) if part)
