"""The favor of policies as a page: the table, how favor is distributed, and the positions that gain most, on boards.

One self-contained file without script. Every text from outside is escaped. Boards are drawn by python-chess, the side
to move at the bottom: green arrows are the policy's likeliest moves, red ones the reference's, paler where rarer.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

import chess
import chess.svg
from rich.table import Table

from surpass.domains.chess.favor import Measured, Moves, Row
from surpass.evaluation.statistics import Interval
from surpass.web.curves import alone
from surpass.web.histogram import histogram

ARROWS = 3  # moves of each policy drawn on a board, at most
GREEN, RED = "#1f7a4d", "#b3402e"
_STYLE = """
.boards { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 28px; }
.boards figcaption { margin: 6px 0 0; font-weight: 400; line-height: 1.45; } .boards svg { max-width: 340px; }
.up { color: #1f7a4d; } .down { color: #b3402e; }
"""


def write(
    path: Path, measured: Measured, found: Sequence[Row], *, reference: str, judge: str = "an engine", boards: int = 9
) -> Path:
    """Write the page of an analysis and return its path; boards are of the first policy that is not the reference.

    How its favor is distributed stands in `distribution.svg` beside the page, too, for documents.
    """
    style = files("surpass.web").joinpath("style.css").read_text(encoding="utf-8")
    others = [row.name for row in found if row.name != reference]
    spreads = [
        histogram(f"favor of {name}, points: positions", 100 * measured.favor(name, reference)) for name in others
    ]
    for name in others[:1]:
        title = f"Favor of {name} over {reference} in {len(measured.visits):,} positions: points of a hundred"
        path.with_name("distribution.svg").write_text(alone(title, spreads[0]), encoding="utf-8")
    parts = [
        f"<h1>Favor over {escape(reference)}</h1>",
        f'<p class="lead">How much better are the moves of a policy than those of {escape(reference)}, in '
        f"{len(measured.visits):,} positions of {len({visit.game for visit in measured.visits}):,} games?</p>",
        f"<p>A move scores what {escape(judge)} expects behind it for the side to move, in points of a hundred (a win "
        "100, a draw 50); what is no legal move scores 0. Favor is the mean over a policy's moves less that over the "
        "other's. Of it, legality is what fewer illegal moves gain, choice what better legal ones do. Intervals are "
        "95 % bootstraps over games. T is the temperature at which a model is drawn from; T 0 plays its likeliest "
        "move.</p>",
        f"<h2>Expected scores</h2>{_table(_SCORES, [_scores(row) for row in found])}",
        "<h2>How favor is distributed</h2><p>Positions by their favor; the height of a bar is the square root of their "
        f'number, so that rare ones can be seen.</p><div class="panels">{"".join(spreads)}</div>',
        _table(_SPREAD, [_spread(row) for row in found if row.name != reference]),
    ]
    for name in others[:1]:
        legality, choice = measured.parts(name, reference)
        parts.append(
            "<h2>Boards</h2><p>The side to move is at the bottom. Green arrows are the likeliest moves of "
            f"{escape(name)}, red ones those of {escape(reference)}, paler where rarer; in brackets what a move "
            "scores, 1 for a win.</p>"
        )
        for what, gains in (("gains most", legality + choice), ("gains most by choice, not by legality", choice)):
            shown = gallery(measured, name, reference, measured.largest(gains, boards))
            parts.append(f"<h2>Where {escape(name)} {what}</h2>{shown}")
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>favor - surpass</title>'
        f"<style>{style}{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    path.write_text(page, encoding="utf-8")
    return path


_SCORES = ("policy", "expected score", "favor", "of it legality", "of it choice", "legal moves")
_SPREAD = ("policy", "among the engine's best 1, 3, 5 moves", "skewness", "half of all gains lie in")


def _scores(row: Row) -> list[str]:
    intervals = map(said, (row.expected, row.favor, row.legality, row.choice))
    return [row.name, *intervals, f"{100 * row.legal:.1f} %"]


def _spread(row: Row) -> list[str]:
    tops = ", ".join(f"{100 * top:.1f}" for top in row.tops)
    return [row.name, f"{tops} %", f"{row.skewness:.1f}", f"{100 * row.half:.1f} % of positions"]


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def rich_table(found: Sequence[Row], caption: str) -> Table:
    """Return the expected scores as a table for a terminal."""
    table = Table(title="Points of a hundred, 95 % intervals over games", caption=caption)
    for column in _SCORES:
        table.add_column(column, justify="left" if column == "policy" else "right")
    for row in found:
        table.add_row(*_scores(row))
    return table


def said(interval: Interval) -> str:
    """Return a mean and its 95 % interval, in points of a hundred."""
    return f"{100 * interval.mean:.2f} ({100 * interval.low:.2f} to {100 * interval.high:.2f})"


def gallery(measured: Measured, name: str, reference: str, places: Sequence[int]) -> str:
    """Return some positions as boards with captions."""
    figures, (legality, choice) = [], measured.parts(name, reference)
    for index in places:
        row, scores = measured.chances[index], measured.scores[index]
        own, other = row[measured.at(name)], row[measured.at(reference)]
        caption = (
            f"favor {100 * (legality[index] + choice[index]):+.1f}: legality {100 * legality[index]:+.1f}, "
            f"choice {100 * choice[index]:+.1f}<br>"
            f'<span class="up">{escape(name)}:</span> {_said(measured.visits[index].fen, own, scores)}<br>'
            f'<span class="down">{escape(reference)}:</span> {_said(measured.visits[index].fen, other, scores)}'
        )
        figures.append(
            f"<figure>{drawn(measured.visits[index].fen, own, other)}<figcaption>{caption}</figcaption></figure>"
        )
    return f'<div class="boards">{"".join(figures)}</div>'


def drawn(fen: str, own: Moves, other: Moves) -> str:
    """Return a board as SVG with the likeliest moves of two policies."""
    board = chess.Board(fen)
    arrows = []
    for moves, colour in ((other, RED), (own, GREEN)):
        for uci in likeliest(moves):
            move, strength = chess.Move.from_uci(uci), round(55 + 200 * min(1.0, moves[uci]))
            arrows.append(chess.svg.Arrow(move.from_square, move.to_square, color=f"{colour}{strength:02x}"))
    return str(chess.svg.board(board, orientation=board.turn, arrows=arrows, size=340, coordinates=True))


def likeliest(moves: Moves) -> list[str]:
    """Return a policy's likeliest moves, those it plays at least one time in twenty."""
    return sorted((move for move, p in moves.items() if p >= 0.05), key=lambda move: -moves[move])[:ARROWS]


def _said(fen: str, moves: Moves, scores: Moves) -> str:
    board = chess.Board(fen)
    words = [
        f"{board.san(chess.Move.from_uci(move))} {moves[move]:.0%} (scores {scores[move]:.2f})"
        for move in likeliest(moves)
    ]
    if (illegal := 1 - sum(moves.values())) >= 0.005:
        words.append(f"illegal {illegal:.0%}")
    return escape(", ".join(words)) or "no move it plays often"
