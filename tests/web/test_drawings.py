"""Drawings as files and histograms: what is in them, that they are well-formed, and that they run nothing."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surpass.web.curves import alone, drawing
from surpass.web.histogram import histogram

SVG = "{http://www.w3.org/2000/svg}"


def test_a_drawing_is_a_file_of_its_own() -> None:
    lines = {f"arm <{n}> with a long name & more": {"0": [(0.0, 1.0), (1.0, n)], "1": [(0.0, 2.0)]} for n in range(6)}
    text = drawing("a <title>", lines, x_label="x & y")
    root = ElementTree.fromstring(text)
    said = [one.text for one in root.iter(f"{SVG}text")]
    assert {"a <title>", "x & y", *lines} <= set(said)
    _, top, width, height = map(float, root.attrib["viewBox"].split())
    for one in root.iter(f"{SVG}text"):
        assert 0 <= float(one.attrib["x"]) <= width
        assert top <= float(one.attrib["y"]) <= top + height  # the legend has room, however many arms there are
    assert "var(--c0)" in text
    assert "<script" not in text


def test_a_drawing_of_nothing_is_a_drawing() -> None:
    ElementTree.fromstring(drawing("nothing", {"a": {"0": [(0.0, float("nan"))]}}))


def test_a_histogram_alone_is_a_file_of_its_own() -> None:
    root = ElementTree.fromstring(alone("spread & more", histogram("values", np.array([1.0, 1.0, 3.0]))))
    assert "spread & more" in [one.text for one in root.iter(f"{SVG}text")]
    assert len(list(root.iter(f"{SVG}rect"))) == 1 + 2  # the paper, and the bars
    assert len(list(ElementTree.fromstring(alone("nothing", "")).iter(f"{SVG}rect"))) == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200))
def test_every_value_is_in_a_bar(values: list[float]) -> None:
    root = ElementTree.fromstring(histogram("values", np.array(values), bins=7))
    bars = list(root.iter("rect"))
    counts = [int(one.findtext("title", "").rpartition(": ")[2].replace(",", "")) for one in bars]
    assert sum(counts) == len(values)
    heights = [float(one.attrib["height"]) for one in bars]
    assert all(height > 0 for height in heights)
    assert heights[int(np.argmax(counts))] == max(heights)


def test_values_that_are_none_are_left_out() -> None:
    assert histogram("x", np.array([np.nan, np.inf])) == ""
    assert "(2)" in histogram("x", np.array([1.0, np.nan, 2.0]))


@pytest.mark.parametrize("title", ["<b>", "a & b"])
def test_titles_are_escaped(title: str) -> None:
    root = ElementTree.fromstring(histogram(title, np.array([1.0])))
    assert root.findtext("figcaption") == f"{title} (1)"
