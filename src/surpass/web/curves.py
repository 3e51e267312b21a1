"""Learning curves as inline SVG: one panel per metric, one colour per arm, thin lines for seeds, a thick mean.

Every function returns markup; every text that comes from outside is escaped here. Colours are CSS classes `c0`...`c11`
of `style.css`, so that a page follows the reader's light or dark theme.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files

Points = Sequence[tuple[float, float]]  # (step, value), by step
Curves = Mapping[str, Mapping[str, Points]]  # arm -> seed -> points

COLOURS = 12  # of style.css
WIDTH, HEIGHT = 440, 240
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 12, 30
POINTS = 240  # per line; more would be thinner than a pixel


def panel(title: str, curves: Curves, colours: Mapping[str, int], *, x_label: str = "step") -> str:
    """Return one figure, or an empty text where there is nothing finite to draw; `colours` numbers the arms."""
    lines = {arm: {seed: thinned(points) for seed, points in seeds.items()} for arm, seeds in curves.items()}
    xs, ys = _values(lines, 0), _values(lines, 1)
    if not xs:
        return ""
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    x_low, x_high = min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1
    y_low, y_high = y_ticks[0], y_ticks[-1]  # ticks enclose the values

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM),
        )

    marks = []
    for tick in y_ticks:
        _, y = place(x_low, tick)
        marks.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        marks.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        if x_low <= tick <= x_high - (0.02 + 0.015 * len(x_label)) * (x_high - x_low):  # room for the axis' label
            x, _ = place(tick, y_low)
            marks.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 11}" text-anchor="middle">{tick:g}</text>')
    for arm, seeds in lines.items():
        colour = f"c{colours[arm] % COLOURS}"
        if len(seeds) > 1:
            marks += [_line(points, place, f"seed {colour}", f"{arm}, seed {seed}") for seed, points in seeds.items()]
        marks.append(_line(mean(seeds.values()), place, f"mean {colour}", arm))
    label = escape(title.replace("_", " "))
    marks.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 11}" text-anchor="end">{escape(x_label)}</text>')
    body = "".join(marks)
    return (
        f'<figure><figcaption>{label}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{label} by {escape(x_label)}">{body}</svg></figure>'
    )


def drawing(title: str, curves: Curves, *, x_label: str = "step") -> str:
    """Return one figure as an SVG file of its own, with its legend below; for documents, and light paper only."""
    colours = {arm: number for number, arm in enumerate(curves)}
    keys, x, y = list[str](), LEFT, HEIGHT + 22
    for arm, number in colours.items():
        wide = 30 + 7 * len(arm)
        if x + wide > WIDTH and x > LEFT:
            x, y = LEFT, y + 18
        keys.append(f'<path class="mean c{number % COLOURS}" d="M{x},{y - 4}h16"/>')
        keys.append(f'<text class="tick" x="{x + 21}" y="{y}">{escape(arm)}</text>')
        x += wide
    return alone(title, panel(title, curves, colours, x_label=x_label), below="".join(keys), high=y + 12)


def alone(title: str, figure: str, *, below: str = "", high: int = HEIGHT) -> str:
    """Return a figure of a page as an SVG file of its own; `below` is drawn with it, down to the height `high`."""
    head, _, rest = figure.partition("<svg")
    body = rest.partition(">")[2].removesuffix("</figure>").removesuffix("</svg>") if head else ""
    style = files("surpass.web").joinpath("style.css").read_text(encoding="utf-8")
    style = re.sub(r"@media \(prefers-color-scheme: dark\) \{.*?\n\}\n", "", style, flags=re.DOTALL)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 -24 {WIDTH} {high + 24}" width="{2 * WIDTH}" role="img">'
        f"<style>{escape(style)} text {{ font: 11.5px sans-serif; }} .title {{ font-size: 13px; }}</style>"
        f'<rect y="-24" width="{WIDTH}" height="{high + 24}" fill="var(--paper)"/>'
        f'<text class="title" x="{LEFT}" y="-7">{escape(title)}</text>{body}{below}</svg>\n'
    )


def legend(colours: Mapping[str, int]) -> str:
    """Return the arms with their colours."""
    keys = (f'<span class="key"><i class="c{n % COLOURS}"></i>{escape(arm)}</span>' for arm, n in colours.items())
    return f'<p class="legend">{"".join(keys)}</p>'


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round numbers, ascending and equally spaced, whose first and last enclose [low, high].

    >>> ticks(0.03, 0.94)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    size = max(abs(low), abs(high))
    if high - low <= max(1e-9 * size, 1e-12):  # flat, or as good as: below that, ticks could not be told apart
        width = size if size > 1e-9 else 1.0
        low, high = low - width / 2, high + width / 2
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * power for unit in (1, 2, 2.5, 5, 10) if unit * power >= rough * 0.9)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def thinned(points: Points) -> Points:
    """Return at most `POINTS` finite points by step: means of equal runs of neighbours where there are more."""
    finite = sorted(point for point in points if all(abs(value) < 1e100 for value in point))  # NaN is not below
    size = math.ceil(len(finite) / POINTS)
    runs = (finite[start : start + size] for start in range(0, len(finite), size or 1))
    return [(sum(x for x, _ in run) / len(run), sum(y for _, y in run) / len(run)) for run in runs]


def mean(lines: Iterable[Points]) -> Points:
    """Return the mean over lines at each step; a line counts where it has a point."""
    found: dict[float, list[float]] = {}
    for line in lines:
        for step, value in line:
            found.setdefault(step, []).append(value)
    return [(step, sum(values) / len(values)) for step, values in sorted(found.items())]


def _values(lines: Mapping[str, Mapping[str, Points]], axis: int) -> list[float]:
    return [point[axis] for seeds in lines.values() for points in seeds.values() for point in points]


def _line(points: Points, place: Callable[[float, float], tuple[float, float]], kind: str, name: str) -> str:
    places = [place(*point) for point in points]
    title = f"<title>{escape(name)}</title>"
    if len(places) == 1:  # a line of one point shows nothing
        return f'<circle class="{kind}" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="3">{title}</circle>'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline class="{kind}" points="{path}">{title}</polyline>'
