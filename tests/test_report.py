"""The page of a run: complete, self-contained, and deaf to whatever its texts try."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass import report
from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.errors import DataError
from surpass.rollouts.trace import Node, SearchTree
from surpass.store import Run
from surpass.web.curves import POINTS, mean, panel, thinned, ticks
from surpass.web.tree import ROWS, chosen, drawing, winning
from tests.runs import make_run

EVIL = """</text></pre></style><script>alert(1)</script>" onload='alert(2)' x=& <b>bold"""
HTML = "html head meta title style body h1 h2 p section table tr th td div br figure figcaption span i details summary"
SVG = "code pre svg g line circle text tspan path polyline"
TAGS = set(f"{HTML} {SVG}".split())


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        if tag not in {"meta", "br", "line", "circle", "path"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def harmless(text: str) -> Page:
    """Parse a page and require that it is whole, holds no foreign tag, no handler and no address."""
    page = Page(text)
    assert page.open == []
    assert set(page.tags) <= TAGS
    assert not [name for name in page.attributes if name.startswith("on") or name in {"src", "href", "style"}]
    return page


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("made") / "proof_flow-tiny-1")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / made.name))


def test_the_page_holds_the_table_curves_proofs_and_one_search(folder: Path) -> None:
    page = harmless(report.write(folder).read_text(encoding="utf-8"))
    arms = Run(folder).summary()["arms"]
    for arm, row in arms.items():
        assert arm in page.text
        assert f"{100 * row['solve_rate']:.1f} %" in page.text
        assert f"{100 * row['ci95'][0]:.1f} to {100 * row['ci95'][1]:.1f} %" in page.text
    assert page.tags["figure"] == 1 + 3  # pass@k, metrics
    assert page.tags["polyline"] == 2 + 3 * 2 * (2 + 1)  # arms; metrics, arms, two seeds and their mean
    parts = [Run(path) for path in (folder / "arms").iterdir()]
    solved = {play.problem.key: play for part in parts for play in part.trajectories() if play.solved}
    assert page.tags["details"] == len(solved) > 2
    assert "\n".join(solved["~ ~ (~ ~ A -> A)"].actions) in page.text
    assert "kernel 1; T3" in page.text
    assert "The path to a proof is green" in page.text
    assert "memory_gib" in page.text


def test_figures_and_pictures_of_a_summary_are_shown(folder: Path) -> None:
    """A summary may bring figures of its own, estimates with intervals, and pictures; all text stays text."""
    run = Run(folder)
    summary = run.summary()
    arm = next(iter(summary["arms"]))
    summary["arms"][arm]["welfare"] = {"mean": 1.5, "low": 1.25, "high": 1.75}
    lines = {arm: {"0": [[1, 2.0], [2, 3.0]], "1": [[1, 2.5], [2, 3.5]]}}
    summary["figures"] = [{"title": EVIL, "x_label": "terms", "lines": lines}]
    summary["pictures"] = {"film.gif": EVIL}
    run.write_summary(summary)
    with pytest.raises(DataError, match=r"film.gif cannot be read"):
        report.write(folder)
    (folder / "film.gif").write_bytes(b"GIF89a")
    text = report.write(folder).read_text(encoding="utf-8")
    assert text.count('src="data:image/gif;base64,R0lGODlh"') == 1
    page = harmless(re.sub(r"<img [^>]*>", "", text))
    assert "1.51.25 to 1.75" in page.text
    assert page.tags["figure"] == 1 + 1 + 1  # pass@k, ours in place of the metrics, the picture
    assert EVIL in page.text


def test_the_page_fetches_nothing_and_runs_nothing(folder: Path) -> None:
    text = report.write(folder).read_text(encoding="utf-8")
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert len(text) < 200_000


def test_a_second_page_replaces_the_first_and_a_bad_run_leaves_it(folder: Path) -> None:
    path = report.write(folder)
    before = path.read_bytes()
    assert report.write(folder).read_bytes() == before
    (folder / "summary.json").write_text("{")
    with pytest.raises(DataError, match=r"summary\.json"):
        report.write(folder)
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["[]", '{"arms": []}', '{"arms": {"gfn": 3}}'])
def test_a_summary_of_another_shape_is_refused(folder: Path, text: str) -> None:
    (folder / "summary.json").write_text(text)
    with pytest.raises(DataError, match=r"summary\.json"):
        report.write(folder)


def test_a_trace_with_a_bad_line_is_refused_and_a_torn_end_is_not(folder: Path) -> None:
    trace = folder / "arms" / "gfn-0" / "trace.jsonl"
    whole = trace.read_text()
    trace.write_text(whole + '{"problem": ')
    harmless(report.write(folder).read_text(encoding="utf-8"))
    trace.write_text("{\n" + whole)
    with pytest.raises(DataError, match="line 1"):
        report.write(folder)


def test_pass_at_k_is_drawn_over_the_doublings_of_k(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    run.log({"step": 1})
    run.write_summary({"arms": {"a": {"pass_at_k": {"1": 0.0, "2": 0.5, "4": 1.0, "0": 1.0}}, "b": {"pass_at_k": {}}}})
    text = report.write(run.path).read_text(encoding="utf-8")
    page = harmless(text)
    (points,) = re.findall(r'<polyline class="mean c0" points="([^"]+)"', text)
    (x0, y0), (x1, y1), (x2, y2) = ([float(value) for value in point.split(",")] for point in points.split())
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert y1 - y0 == pytest.approx(y2 - y1)
    assert "log2 k" in page.text
    assert "not finished" not in page.text


def test_an_unfinished_run_has_a_page_that_says_so(folder: Path) -> None:
    (folder / "summary.json").unlink()
    assert "has not finished" in harmless(report.write(folder).read_text(encoding="utf-8")).text


def test_a_flat_run_needs_no_arms(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "flat", {"steps": 2})
    for step in range(3):
        run.log({"step": step, "loss": 1 / (step + 1)})
    page = harmless(report.write(run.path).read_text(encoding="utf-8"))
    assert page.tags["polyline"] == 1


def test_no_text_of_a_run_becomes_markup(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "evil", {EVIL: EVIL, "experiment": EVIL, "nested": {EVIL: [EVIL]}})
    evil = Observation(EVIL, key=EVIL)
    problem = Problem(EVIL, EVIL, {"statement": EVIL, "name": EVIL})
    info = {"arm": EVIL, "end": EVIL}
    run.append([Trajectory(problem, (Step(evil, Proposal(EVIL)),), Verdict(Status.ACCEPTED, (1.0,), EVIL), info)])
    rows = [{"arm": EVIL, "seed": EVIL, "step": step, EVIL: 0.5 + step, "loss": float("nan")} for step in range(2)]
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = dict.fromkeys(report.COLUMNS, EVIL) | {EVIL: 1.5}
    run.write_summary(
        {"arms": {EVIL: values, "b": {"solve_rate": 0.5, "pass_at_k": {EVIL: EVIL}}}, "machine": {EVIL: EVIL}}
    )
    node = {"text": EVIL, "key": EVIL}
    events: list[dict[str, object]] = [
        {"kind": "start", "node": 0, "status": "open", **node},
        {"kind": "apply", "pairs": [{"source": 0, "action": EVIL, "node": 1, "status": EVIL, **node}]},
    ]
    lines = (
        json.dumps({"problem": EVIL, "replica": 0, "ask": ask, **event}) + "\n" for ask, event in enumerate(events)
    )
    (run.path / "trace.jsonl").write_text("".join(lines))
    page = harmless(report.write(run.path).read_text(encoding="utf-8"))
    assert page.text.count("<script>alert(1)</script>") >= 12
    assert page.tags["section"] == 6


@given(st.text(max_size=40), st.text(max_size=40))
def test_pictures_hold_any_text(action: str, name: str) -> None:
    nodes = (
        Node(0, None, "", None, name, name, "open", 0, 0),
        Node(1, 0, action, -1.0, name, "", "accepted", 1, None),
    )
    harmless(drawing(SearchTree(name, 0, nodes, ((0, 1),))))
    harmless(panel(name, {action: {name: [(0, 1.0), (1, 2.0)]}}, {action: 0}))


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_ticks_enclose_the_range_in_equal_round_steps(low: float, width: float) -> None:
    marks = ticks(low, low + width)
    assert 2 <= len(marks) <= 8
    assert marks[0] <= low + 1e-8 * (1 + abs(low) + width)  # a billionth of a step is no reason for another tick
    assert marks[-1] >= low + width - 1e-8 * (1 + abs(low) + width)
    assert all(b > a for a, b in pairwise(marks))


def test_lines_are_thinned_to_means_and_averaged_by_step() -> None:
    assert mean([[(0, 1.0), (1, 3.0)], [(1, 5.0)]]) == [(0, 1.0), (1, 4.0)]
    assert thinned([(1, 2.0), (0, 1.0), (2, float("inf"))]) == [(0, 1.0), (1, 2.0)]
    long = thinned([(float(step), float(step % 2)) for step in range(10 * POINTS)])
    assert len(long) == POINTS
    assert long[0] == (4.5, 0.5)
    assert panel("x", {"a": {"0": [(0, float("nan"))]}}, {"a": 0}) == ""
    assert 'class="mean c1" cx=' in panel("x", {"a": {"0": [(3, 2.0)]}}, {"a": 1})


def test_a_large_search_keeps_its_proof_and_counts_what_it_leaves_out() -> None:
    wide = [Node(n, 0, f"a{n}", -1.0, "t", "", "rejected" if n % 2 else "open", 1, None) for n in range(1, 401)]
    deep = [Node(n, n - 1 if n > 401 else 0, f"d{n}", -9.0, "t", "", "open", n - 400, n) for n in range(401, 421)]
    last = Node(421, 420, "exact proof", -9.0, "t", "", "accepted", 21, None)
    nodes = (Node(0, None, "", None, "t", "", "open", 0, 0), *wide, *deep, last)
    search = SearchTree("p", 0, nodes, ())
    won = winning(search)
    assert won == {0, *range(401, 422)}
    kept = chosen(search, won)
    assert won <= kept
    assert len(kept) == ROWS
    drawn = drawing(search)
    assert "exact proof" in drawn
    assert f"200 refused · {200 - (ROWS - 22)} not drawn" in drawn
    assert drawn.count("<circle") == ROWS


def test_tables_and_figures_of_a_summary_are_drawn_and_escaped(folder: Path) -> None:
    run = Run(folder)
    lines = {EVIL: {"0": [[0, 1.0], [2, 3.0]], "1": [[0, 2.0], [2, 5.0]]}, "base": {"0": [[0, 1.0], [2, 2.0]]}}
    table = {"columns": ["player", EVIL], "rows": [["a", "+12"], [EVIL, "-3"]], "note": EVIL}
    figures = [{"title": EVIL, "x_label": EVIL, "lines": lines}]
    run.write_summary(run.summary() | {"tables": {EVIL: table, "not a table": 3}, "figures": figures})
    page = Page(report.write(folder).read_text(encoding="utf-8"))
    assert set(page.tags) <= TAGS | {"img"}
    assert not any(name.startswith("on") for name in page.attributes)
    assert "+12" in page.text
    assert page.text.count("alert(1)") >= 6
    groups = {"base raw": {"0": [[0, 1.0], [1, 2.0]]}, "base": {"0": [[0, 1.0], [1, 3.0]]}}
    run.write_summary(run.summary() | {"figures": [{"title": "t", "x_label": "x", "lines": groups}]})
    legend = re.findall(r'<i class="c(\d)"></i>(base raw|base)<', report.write(folder).read_text(encoding="utf-8"))[-2:]
    assert [name for _, name in legend] == ["base raw", "base"]
    assert legend[0][0] != legend[1][0]  # lines that are of groups of arms have colours of their own
