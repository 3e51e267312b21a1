"""A run folder as one self-contained page: the table, learning curves, solved problems with proofs, a search tree.

`write` reads `summary.json`, `config.json`, and the `metrics.jsonl`, `trajectories.jsonl` and `trace.jsonl` of the run
and of its parts (`arms/ARM-SEED/`, each a run folder of its own), and writes `report.html`. The page holds no script
and fetches nothing. Every text of a run is escaped: tactics are full of `<`, `>` and `&`, and policies write anything.
Nothing is computed here that is not in the records: figures come from `summary.json` as they stand.
"""

from __future__ import annotations

import json
import math
import os
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from surpass.core import Trajectory
from surpass.errors import DataError
from surpass.rollouts.trace import SearchTree, tree
from surpass.store import Run
from surpass.verify import parts
from surpass.web import curves
from surpass.web.tree import drawing

LEMMAS = 150  # solved problems shown with their proofs; the rest are counted
OPEN = 3  # of them unfolded
PANELS = (
    "solve_rate",
    "loss",
    "accepted",
    "reward",
    "log_z",
    "entropy",
    "kl",
    "grad_norm",
)  # drawn first, in this order
AT_MOST = 10  # panels
TRAINING = (("train",), ("automation",))  # folders whose problems were learned from, see `experiments/`
POSITIVE = re.compile(r"[1-9][0-9]{0,9}")
SHOWN = {"arms", "machine", "tables", "figures", "pictures", "measured"}  # keys of summary.json shown elsewhere
INDEX = {"arm", "seed", "step", "epoch", "seconds", "time"}  # of a row of metrics: not drawn
COLUMNS = {  # of the table: key of summary.json -> heading
    "solved": "solved",
    "problems": "of",
    "solve_rate": "solve rate",
    "ci95": "95 % interval",
    "distinct_proofs": "distinct proofs",
    "pass_at_k": "pass@k",
    "proposals": "proposals",
    "steps": "steps",
    "seconds": "seconds",
    "seeds": "seeds",
}


def write(run: Path) -> Path:
    """Write `report.html` into a run folder and return its path. Raises DataError where `run` is no run."""
    config = Run.open(run).config()
    summary = _summary(run)
    rows = list(_metrics(run))
    arms = {
        arm: index for index, arm in enumerate(dict.fromkeys([*summary.get("arms", {}), *(r["arm"] for r in rows)]))
    }
    sections = [
        _heading(run, config, summary),
        _section("Results", _table(summary.get("arms", {}), arms)),
        *(_section(escape(str(title)), _listing(table)) for title, table in summary.get("tables", {}).items()),
        _section("Samples that solve", _pass_at_k(summary.get("arms", {}), arms)),
        _section("Curves", _figures(summary.get("figures", []), arms)),
        _section("Pictures", _pictures(run, summary.get("pictures", {}))),
        _section("Learning curves", "" if "figures" in summary else _curves(rows, arms)),
        _section("Solved, with proofs", _solved(_successes(run))),
        _section("One search", _search(run)),
        _section("More figures", _facts({key: value for key, value in summary.items() if key not in SHOWN})),
        _section("Configuration", _facts(config)),
        _section("Machine", _facts(summary.get("machine", {}))),
    ]
    style = files("surpass.web").joinpath("style.css").read_text(encoding="utf-8")
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(run.resolve().name)} - surpass</title><style>{style}</style></head>"
        f"<body>{''.join(sections)}</body></html>\n"
    )
    path = run / "report.html"
    scratch = path.with_suffix(".html.new")
    scratch.write_text(page, encoding="utf-8", errors="backslashreplace")
    os.replace(scratch, path)
    return path


def _summary(run: Path) -> dict[str, Any]:
    """Return summary.json, empty while a run has not finished."""
    summary = Run(run).summary() if (run / "summary.json").exists() else {}
    arms = summary.get("arms", {})
    if not isinstance(arms, dict) or not all(isinstance(arm, dict) for arm in arms.values()):
        raise DataError(f'{run}/summary.json: expected {{"arms": {{name: {{...}}}}}}; resume the run, which writes it')
    return summary


def _arm(part: Run, run: Path) -> tuple[str, str]:
    """Return the arm and the seed that a part is named after: `arms/ARM-SEED`."""
    arm, dash, seed = part.path.relative_to(run).name.rpartition("-")
    return (arm, seed) if dash else (part.path.relative_to(run).name, "0")


def _metrics(run: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of all parts, each with its arm and seed: its own, or those its folder is named after."""
    for part in parts(run):
        arm, seed = _arm(part, run)
        for row in part.metrics():
            yield {"arm": arm or "this run", "seed": seed} | row


def _heading(run: Path, config: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    name = escape(str(config.get("experiment") or run.resolve().name))
    arms: Mapping[str, Any] = summary.get("arms", {})
    rates = {arm: float(row["solve_rate"]) for arm, row in arms.items() if _is_number(row.get("solve_rate"))}
    lead = "" if summary else "This run has not finished: it has no summary yet."
    if rates:
        best = max(rates, key=lambda arm: rates[arm])
        row = arms[best]
        lead = f"Highest solve rate: {escape(best)}, {_percent(rates[best])} of {_number(row.get('problems'))} problems"
        lead += f" (95 % interval {_interval(row.get('ci95'))})." if _pair(row.get("ci95")) else "."
    return f'<h1>{name}</h1><p class="lead">{lead}</p><p class="soft">{escape(str(run.resolve().name))}</p>'


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>" if body else ""


def _table(arms: Mapping[str, Mapping[str, Any]], colours: Mapping[str, int]) -> str:
    """Return the arms as a table with their intervals drawn; columns that no arm fills are left out."""
    if not arms:
        return ""
    filled = dict.fromkeys(key for row in arms.values() for key, value in row.items() if value is not None)
    columns = {key: title for key, title in COLUMNS.items() if key in filled}
    drawn = (key for key in filled if any(_is_number(row.get(key)) or _estimate(row.get(key)) for row in arms.values()))
    columns |= {key: escape(key.replace("_", " ")) for key in drawn if key not in COLUMNS}
    rates = [row["solve_rate"] for row in arms.values() if _is_number(row.get("solve_rate"))]
    tops = [(_pair(row.get("ci95")) or (0.0, 0.0))[1] for row in arms.values()]
    scale = max([*rates, *tops, 1e-9])
    lines = []
    for arm, row in arms.items():
        best = ' class="best"' if rates and row.get("solve_rate") == max(rates) else ""
        cells = "".join(f"<td{best if key == 'solve_rate' else ''}>{_cell(key, row.get(key))}</td>" for key in columns)
        bar = _bar(row.get("solve_rate"), _pair(row.get("ci95")), scale, colours[arm])
        lines.append(f"<tr><td>{escape(arm)}</td>{cells}<td>{bar}</td></tr>")
    head = "".join(f"<th>{title}</th>" for title in ("arm", *columns.values()))
    note = f'<p class="soft">The bars reach from 0 to {_percent(scale)}: the solve rate and its 95 % interval.</p>'
    return f'<div class="wide"><table><tr>{head}<th></th></tr>{"".join(lines)}</table></div>{note if rates else ""}'


def _listing(table: Any) -> str:
    """Return {"columns": [...], "rows": [[...], ...], "note": ...} as a table; every cell is text of its own making."""
    if not isinstance(table, dict) or not isinstance(table.get("rows"), list):
        return ""
    head = "".join(f"<th>{escape(str(column))}</th>" for column in table.get("columns", []))
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>"
        for row in table["rows"]
        if isinstance(row, list)
    )
    note = f'<p class="soft">{escape(str(table["note"]))}</p>' if table.get("note") else ""
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>{note}'


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "–"
    match key:
        case "solve_rate":
            return _percent(value) if _is_number(value) else escape(str(value))
        case "ci95":
            return _interval(value)
        case "pass_at_k" if isinstance(value, dict):
            ends = list(
                dict.fromkeys([*list(value.items())[:1], *list(value.items())[-1:]])
            )  # the first k and the last
            return "<br>".join(f"@{escape(str(k))}: {_percent(v) if _is_number(v) else '–'}" for k, v in ends)
        case "seeds" if isinstance(value, list):
            return str(len(value))
    if estimate := _estimate(value):
        mean, low, high = (f"{one:.3g}" for one in estimate)
        return f'{mean}<br><span class="soft">{low} to {high}</span>'
    return _number(value)


def _bar(rate: Any, interval: tuple[float, float] | None, scale: float, colour: int) -> str:
    if not _is_number(rate):
        return ""
    low, high = interval or (rate, rate)
    left, right, at = (6 + 138 * value / scale for value in (low, high, rate))
    return (
        '<svg class="interval" viewBox="0 0 150 18" role="img" aria-label="interval">'
        '<line class="axis" x1="6" x2="144" y1="9" y2="9"/>'
        f'<g class="c{colour % curves.COLOURS}"><line class="range" x1="{left:.1f}" x2="{right:.1f}" y1="9" y2="9"/>'
        f'<circle cx="{at:.1f}" cy="9" r="4"/></g></svg>'
    )


def _curves(rows: Sequence[Mapping[str, Any]], colours: Mapping[str, int]) -> str:
    """Return one panel per metric: those of `PANELS` first, then the others by name."""
    series: dict[str, dict[str, dict[str, list[tuple[float, float]]]]] = {}
    for row in rows:
        if not _is_number(row.get("step")):
            continue
        for metric, value in row.items():
            if metric not in INDEX and _is_number(value):
                lines = series.setdefault(metric, {}).setdefault(str(row["arm"]), {})
                lines.setdefault(str(row["seed"]), []).append((float(row["step"]), float(value)))
    order = [metric for metric in PANELS if metric in series]
    order += sorted(set(series) - set(order))
    names = {str(arm): index for arm, index in colours.items()}
    panels = [drawn for metric in order if (drawn := curves.panel(metric, series[metric], names))]
    if not panels:
        return ""
    shown = {arm: index for arm, index in names.items() if any(arm in lines for lines in series.values())}
    rest = f'<p class="soft">{len(panels) - AT_MOST} more in metrics.jsonl.</p>' if len(panels) > AT_MOST else ""
    return f'{curves.legend(shown)}<div class="panels">{"".join(panels[:AT_MOST])}</div>{rest}'


def _figures(figures: Sequence[Mapping[str, Any]], colours: Mapping[str, int]) -> str:
    """Return the figures that a summary holds: {"title", "x_label", "lines": {arm: {seed: [[x, y], ...]}}} each."""
    arms = dict.fromkeys(arm for one in figures for arm in one["lines"])
    known = arms.keys() <= colours.keys()  # else lines are of groups of arms, with colours of their own
    own = {arm: colours[arm] if known else number for number, arm in enumerate(arms)}
    panels = [curves.panel(one["title"], one["lines"], own, x_label=one["x_label"]) for one in figures]
    return f'{curves.legend(own)}<div class="panels">{"".join(panels)}</div>' if any(panels) else ""


def _pictures(run: Path, pictures: Mapping[str, str]) -> str:
    """Return the GIFs that a summary names, with their captions, inside the page."""
    shown = []
    for name, caption in pictures.items():
        try:
            data = b64encode((run / name).read_bytes()).decode()
        except OSError as error:
            raise DataError(
                f"{run / name} cannot be read ({error.strerror}); resume the run, which makes it"
            ) from error
        label = escape(caption)
        shown.append(
            f'<figure><img alt="{label}" src="data:image/gif;base64,{data}"><figcaption>{label}</figcaption></figure>'
        )
    return "".join(shown)


def _pass_at_k(arms: Mapping[str, Mapping[str, Any]], colours: Mapping[str, int]) -> str:
    """Return pass@k over k in doublings; nothing where no arm was sampled more than once."""
    lines = pass_at_k(arms)
    drawn = curves.panel("pass@k: the chance that one of k samples solves a problem", lines, colours, x_label="log2 k")
    shown = {arm: index for arm, index in colours.items() if arm in lines}
    return f'{curves.legend(shown)}<div class="panels">{drawn}</div>' if drawn else ""


def pass_at_k(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return the lines of pass@k over log2 k by arm, for a figure; of arms that were sampled more than once."""
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for arm, row in arms.items():
        rates = row.get("pass_at_k")
        found = rates.items() if isinstance(rates, dict) else ()
        points = [(math.log2(int(k)), float(rate)) for k, rate in found if POSITIVE.fullmatch(k) and _is_number(rate)]
        if len(points) > 1:
            lines[arm] = {"": points}
    return lines


def _successes(run: Path) -> Iterator[tuple[str, Trajectory]]:
    """Yield the accepted trajectories with the arm that found them: of training only where there are no others."""
    found = parts(run)
    measured = [part for part in found if part.path.relative_to(run).parts[:1] not in TRAINING]
    for part in measured or found:
        arm, _ = _arm(part, run)
        for trajectory in part.trajectories():
            if trajectory.solved:
                yield str(trajectory.info.get("arm", arm)), trajectory


def _solved(successes: Iterator[tuple[str, Trajectory]]) -> str:
    """Return each solved problem with who solved it and its proofs, shortest first."""
    proofs: dict[str, dict[tuple[str, ...], Trajectory]] = {}
    solvers: dict[str, dict[str, None]] = {}
    for arm, trajectory in successes:
        proofs.setdefault(trajectory.problem.key, {}).setdefault(trajectory.actions, trajectory)
        solvers.setdefault(trajectory.problem.key, {})[arm] = None
    if not proofs:
        return ""
    items = []
    for place, key in enumerate(sorted(proofs)[:LEMMAS]):
        found = sorted(proofs[key].values(), key=lambda one: (len(one.actions), one.actions))
        statement = str(found[0].problem.data.get("statement") or found[0].problem.data.get("goals") or "")
        name = str(found[0].problem.data.get("name") or key)
        by = ", ".join(arm for arm in solvers[key] if arm)
        note = f"{len(found)} distinct proofs" if len(found) > 1 else f"{len(found[0].actions)} steps"
        shown = "".join(
            f'<pre>{escape(chr(10).join(one.actions))}</pre><p class="soft">{escape(one.verdict.evidence)}</p>'
            for one in found[:3]
        )
        more = f'<p class="soft">and {len(found) - 3} more.</p>' if len(found) > 3 else ""
        told = escape(" · ".join(filter(None, (by, note))))
        state = " open" if place < OPEN else ""
        items.append(
            f'<details{state}><summary><code>{escape(name)}</code><span class="soft">{told}</span></summary>'
            f"<pre>{escape(statement)}</pre>{shown}{more}</details>"
        )
    rest = f" The first {LEMMAS} follow." if len(proofs) > LEMMAS else ""
    many = "1 problem" if len(proofs) == 1 else f"{len(proofs)} problems"
    return f"<p>{many} solved.{rest}</p>{''.join(items)}"


def _search(run: Path) -> str:
    """Return the tree of the search that explains most: one with a proof, and a readable size."""
    found = [one for path in sorted(run.rglob("trace.jsonl")) for one in _trees(path)]
    if not found or not (drawn := drawing(best := max(found, key=_interest))):
        return ""
    expanded = sum(node.order is not None for node in best.nodes)
    told = f"{len(best.nodes)} states reached, {expanded} expanded."
    told += " The path to a proof is green." if _interest(best)[0] else ""
    name = f"<code>{escape(best.problem)}</code>"
    return f'<p>{name}: {told} Point at a state to read its goals.</p><div class="wide">{drawn}</div>'


def _trees(path: Path) -> list[SearchTree]:
    """Return the search tree of every conversation in a trace."""
    conversations: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for event in _events(path):
        conversations.setdefault((event["problem"], event["replica"]), []).append(event)
    return [tree(events, problem=problem, replica=replica) for (problem, replica), events in conversations.items()]


def _events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a trace; a torn last line (a crash) is left out. Raises DataError for any other bad line."""
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            if line.endswith(b"\n"):
                yield dict(json.loads(line))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: expected a JSON object ({error}); delete the file") from error


def _interest(search: SearchTree) -> tuple[bool, int]:
    solved = any(node.status == "accepted" for node in search.nodes)
    return solved, -abs(sum(node.order is not None for node in search.nodes) - 20)


def _facts(facts: Mapping[str, Any]) -> str:
    """Return a mapping as a two-column table; nested values as JSON."""
    shown = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for key, value in facts.items()
    }
    rows = "".join(f"<tr><td>{escape(str(key))}</td><td>{escape(value)}</td></tr>" for key, value in shown.items())
    return f'<table class="facts">{rows}</table>' if rows else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _pair(value: Any) -> tuple[float, float] | None:
    if isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value)):
        return float(value[0]), float(value[1])
    return None


def _estimate(value: Any) -> tuple[float, float, float] | None:
    """Return a mean with its interval, where a value is one."""
    if not isinstance(value, dict) or not all(_is_number(value.get(key)) for key in ("mean", "low", "high")):
        return None
    return float(value["mean"]), float(value["low"]), float(value["high"])


def _interval(value: Any) -> str:
    pair = _pair(value)
    return f"{100 * pair[0]:.1f} to {_percent(pair[1])}" if pair else "–"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _number(value: Any) -> str:
    """Return a count with thin spaces, a measured value with one decimal, anything else as text."""
    if not _is_number(value):
        return escape(str(value))
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else f"{value:,.1f}".replace(",", " ")
