"""How values are spread, as inline SVG: bars, their heights by square root so that a long tail can be seen."""

from __future__ import annotations

import math
from html import escape

import numpy as np
from numpy.typing import NDArray

from surpass.web.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, ticks

BINS = 41


def histogram(title: str, values: NDArray[np.float64], *, bins: int = BINS) -> str:
    """Return one figure of finite values [N], or an empty text where there are none."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return ""
    marks = ticks(float(finite.min()), float(finite.max()))
    inside = np.clip(finite, marks[0], marks[-1])  # ticks enclose the values but for rounding
    counts, edges = np.histogram(inside, bins=bins, range=(marks[0], marks[-1]))
    top = math.sqrt(counts.max())

    def x(value: float) -> float:
        return LEFT + (value - marks[0]) / (marks[-1] - marks[0]) * (WIDTH - LEFT - RIGHT)

    def y(count: float) -> float:
        return HEIGHT - BOTTOM - math.sqrt(count) / top * (HEIGHT - TOP - BOTTOM)

    drawn = []
    for tick in dict.fromkeys(10**power for power in range(int(math.log10(counts.max())) + 1)):
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        drawn.append(f'<text class="tick" x="{LEFT - 7}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:,}</text>')
    for tick in marks:
        drawn.append(f'<text class="tick" x="{x(tick):.1f}" y="{HEIGHT - 11}" text-anchor="middle">{tick:g}</text>')
    for count, left, right in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if count:
            size = f'width="{x(right) - x(left) - 0.6:.1f}" height="{HEIGHT - BOTTOM - y(count):.1f}"'
            about = f"<title>{left:.3g} to {right:.3g}: {count:,}</title>"
            drawn.append(
                f'<rect class="c0" fill="currentColor" x="{x(left):.1f}" y="{y(count):.1f}" {size}>{about}</rect>'
            )
    label = escape(title)
    return (
        f'<figure><figcaption>{label} ({len(finite):,})</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{label}: how often each value occurs">{"".join(drawn)}</svg></figure>'
    )
