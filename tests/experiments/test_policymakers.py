"""The comparison of policymakers in its tiny preset: paired, resumed exactly at any step, honest in its tables."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from surpass import cli, report
from surpass.domains.economy.bring import from_function
from surpass.domains.economy.learning import SHIPPED, LearningCommons, load_core
from surpass.domains.economy.principals.principal import Principal, PrincipalError, Rates, principal_of
from surpass.domains.economy.rules import rules_of
from surpass.domains.economy.society import Context, Society, SocietyError, Term, surface
from surpass.errors import ConfigError, DataError
from surpass.experiments.policymakers import FREE, PRESETS, main
from surpass.experiments.policymakers_societies import ALWAYS, Place, harvest
from surpass.experiments.policymakers_table import show, steps_to, summarise
from surpass.experiments.policymakers_terms import Mandate, Row, govern, term_of
from surpass.store import Run

TINY = PRESETS["tiny"]
HARVEST = LearningCommons(replace(rules_of("harvest"), length=10), load_core(), episodes=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return main(TINY, out=tmp_path_factory.mktemp("runs") / "run")


def timeless(value: Any) -> Any:
    """Leave out what a clock told."""
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if key != "seconds"}
    return [timeless(one) for one in value] if isinstance(value, list | tuple) else value


def mandate(society: Society, name: str, terms: int = 4, seeds: tuple[int, ...] = (0, 1)) -> Mandate:
    def make(seed: int, silent: int) -> Principal:
        return principal_of(name, society, seed=seed + silent)

    makers = {seed: partial(make, seed) for seed in seeds}
    return Mandate(society, "here", makers, terms, steps=10)


def test_a_run_ends_with_every_principal_of_every_society_and_a_page(finished: Path) -> None:
    summary = Run.open(finished).summary()
    assert list(summary["societies"]) == list(TINY.societies)
    for name, found in summary["societies"].items():
        wanted = TINY.commons_principals if name == "harvest" else TINY.room_principals
        assert list(found["arms"]) == [*ALWAYS, *wanted]
        for row in found["arms"].values():
            assert row["mean_welfare"]["low"] <= row["mean_welfare"]["mean"] <= row["mean_welfare"]["high"]
            assert row["unknown"] == 0
        assert found["arms"]["oracle"]["regret"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
        assert found["arms"]["random"]["gain_over_random"]["mean"] == 0.0
        page = (finished / name / "report.html").read_text(encoding="utf-8")
        assert "terms, by environment steps" in page
        assert all(f"<td>{arm}</td>" in page for arm in found["arms"])
        assert ("data:image/gif;base64," in page) == (name == "harvest")
        assert (finished / name / "oracle.json").exists()
        assert show(name, found).row_count == len(found["arms"])
    rooms = summary["societies"]["settled_room"]["arms"]
    assert rooms["oracle"]["final_welfare"]["mean"] == 140
    assert rooms["fixed"]["final_welfare"]["mean"] == 0
    assert report.write(finished / "harvest").read_bytes(), "surpass report makes the page again"


def test_terms_meet_the_same_chance_whoever_governs(finished: Path) -> None:
    """Live levers, the context of the room, are drawn by seed and step alone; seeds differ."""
    drawn = dict[str, list[Any]]()
    for name in ("fixed", "random", "tpe"):
        rows = Run.open(finished / "room" / "arms" / name).metrics()
        drawn[name] = [(row["seed"], row["step"], row["context"]) for row in rows]
        assert [row["environment_steps"] for row in rows] == [30 * (1 + at // 2) for at in range(8)]
    assert drawn["fixed"] == drawn["random"] == drawn["tpe"]
    found = {seed: [told for of, _, told in drawn["fixed"] if of == seed] for seed in (0, 1)}
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("society", "name"), [(surface(1, noise=0.1), "tpe"), (surface(1), "cma_es"), (HARVEST, "ai_economist")]
)
def test_an_interruption_at_any_point_changes_nothing(society: Society, name: str, tmp_path: Path) -> None:
    whole = Run.create(tmp_path / "whole", {})
    expected = timeless(govern(mandate(society, name), whole))
    lines = whole.metrics_path.read_bytes().splitlines(keepends=True)
    assert len(lines) == len(expected) == 8
    for cut in range(9):
        for torn in (b"", b'{"seed": 0, "st'):
            part = Run.create(tmp_path / f"{cut}-{len(torn)}", {})
            part.metrics_path.write_bytes(b"".join(lines[:cut]) + torn)
            assert timeless(govern(mandate(society, name), part)) == json.loads(json.dumps(expected))
            assert len(part.metrics()) == 8


@pytest.mark.parametrize(
    "damage",
    [
        lambda rows: [rows[1], rows[0]],
        lambda rows: [rows[0], rows[0]],
        lambda rows: [{"x": 1}, rows[1]],
        lambda rows: [rows[0] | {"values": 3}, rows[1]],
        lambda rows: [rows[0] | {"seed": 7}, rows[1]],
    ],
)
def test_a_record_that_was_changed_is_refused(damage: Callable[[list[Row]], list[Row]], tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    rows = govern(mandate(surface(1), "random", terms=1), run)
    text = "".join(json.dumps(row) + "\n" for row in damage(rows))
    run.metrics_path.write_text(text)
    with pytest.raises(DataError, match=r"metrics.jsonl, line [12]: expected the term of seed [01] in step 1; restore"):
        govern(mandate(surface(1), "random"), run)
    assert run.metrics_path.read_text() == text


def test_a_run_goes_on_where_it_was_left(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    shutil.rmtree(copy / "harvest" / "arms" / "cma_es")
    for path in (copy / "summary.json", copy / "harvest" / "summary.json", copy / "harvest" / "before_and_after.gif"):
        path.unlink()
    torn = copy / "room" / "arms" / "ucb" / "metrics.jsonl"
    torn.write_bytes(torn.read_bytes()[:-40])
    main(TINY, resume=copy)
    found, expected = (timeless(Run.open(one).summary()["societies"]) for one in (copy, finished))
    assert found == expected
    assert torn.read_bytes().count(b"\n") == 8


def test_what_gives_no_answer_is_unknown_and_not_in_the_history(tmp_path: Path) -> None:
    seen = list[int]()

    class Moody:
        """Names no rates in the second term, whoever asks, until it is another one."""

        def __init__(self, silent: int) -> None:
            self.silent = silent

        def ask(self, history: Sequence[Term], context: Context) -> Rates:
            seen.append(len(history))
            if len(history) == 1 and not self.silent:
                raise PrincipalError("three tries")
            return (0.5,)

    def fails(rates: dict[str, float], seed: int) -> float:
        if seed % 3 == 0:
            raise SocietyError("it broke")
        return 1.0

    society = from_function(lambda rates, seed: 1.0, {"tax": (0, 1)})
    one = Run.create(tmp_path / "one", {})
    rows = govern(Mandate(society, "here", {0: Moody}, 4, 1), one)
    assert [row.get("unknown") for row in rows] == [None, "three tries", None, None]
    assert seen == [0, 1, 1, 2]
    one.metrics_path.write_bytes(b"".join(one.metrics_path.read_bytes().splitlines(keepends=True)[:2]))
    assert timeless(govern(Mandate(society, "here", {0: Moody}, 4, 1), one)) == json.loads(json.dumps(timeless(rows)))
    assert seen == [0, 1, 1, 2, 1, 2], "who was silent before the interruption is another one after it"
    broken = from_function(fails, {"tax": (0, 1)})
    rows = govern(mandate(broken, "random", terms=12), Run.create(tmp_path / "two", {}))
    lost = [row for row in rows if term_of(row) is None]
    assert 0 < len(lost) < 24
    assert all("it broke" in row["unknown"] and row["rates"] for row in lost)
    place = Place("here", broken, ("random",), 12, 1, harvest(TINY).search, agents=7)
    arms = summarise(place, {"oracle": rows, "random": rows}, (0, 1), 3)["arms"]
    assert arms["random"]["unknown"] == len(lost)
    assert arms["random"]["mean_welfare"]["mean"] == 1.0


def row(seed: int, step: int, welfare: float, **values: float) -> Row:
    told = {"welfare": welfare, "values": list(values.items()), "words": ""}
    return {"seed": seed, "step": step, "environment_steps": 10 * step, "rates": [0.0], "context": [], **told}


def test_measures_are_those_of_the_definitions() -> None:
    place = Place("here", surface(0), (), 4, 10, harvest(TINY).search, agents=5)
    ours = [row(0, at + 1, value, gini=0.4, cost=3.0) for at, value in enumerate((0.0, 1.0, 9.0, 10.0))]
    ours += [row(1, at + 1, value, gini=0.0, cost=5.0) for at, value in enumerate((0.0, 0.0, 0.0, 4.0))]
    best = [row(seed, step, 10.0) for seed in (0, 1) for step in range(1, 5)]
    chance = [row(seed, step, 2.0) for seed in (0, 1) for step in range(1, 5)]
    summary = summarise(place, {"oracle": best, "random": chance, "ours": ours}, (0, 1), 2)
    found = summary["arms"]["ours"]
    means = {key: value["mean"] for key, value in found.items() if isinstance(value, dict)}
    assert means == pytest.approx(
        {
            "mean_welfare": (5 + 1) / 2,
            "gain_over_random": 3 - 2,
            "final_welfare": (9.5 + 2) / 2,
            "regret": 10 - 5.75,
            "terms_to_90": (4 + 5) / 2,
            "equality": (0.5 + 1) / 2,
            "cost": 4.0,
        }
    )
    assert found["reached"] == 1
    assert (found["regret"]["low"], found["regret"]["high"]) == (0.5, 8.0)
    by_terms, by_steps = (figure["lines"]["ours"] for figure in summary["figures"])
    assert by_terms["0"] == [(1, 0.0), (2, 0.5), (3, 5.0), (4, 9.5)]
    assert [x for x, _ in by_steps["1"]] == [10, 20, 30, 40]


def test_a_table_of_80_columns_cuts_no_number() -> None:
    chance = np.random.default_rng(0)
    arms = ("oracle", "random", "epsilon_greedy", "ai_economist")
    rows = {
        arm: [
            row(seed, step, float(chance.normal(-0.08, 0.02)), gini=chance.random(), cost=412.3)
            for seed in range(5)
            for step in range(1, 9)
        ]
        for arm in arms
    }
    place = Place("here", surface(0), (), 8, 10, harvest(TINY).search, agents=7)
    summary = summarise(place, rows, range(5), 3)
    with (console := Console(width=80, file=StringIO())).capture() as shown:
        console.print(show("here", summary))
    words = set(shown.get().replace("(", " ").replace(",", " ").replace(")", " ").split())
    means = [one["mean"] for arm in summary["arms"].values() for one in arm.values() if isinstance(one, dict)]
    assert {f"{round(mean, 3) + 0.0:.3g}" for mean in means} <= words
    assert "…" not in shown.get()


def test_an_oracle_below_zero_reaches_itself() -> None:
    place = Place("here", surface(0), (), 2, 10, harvest(TINY).search, agents=5)
    best, ours, worse = ([row(0, at, welfare) for at in (1, 2)] for welfare in (-10.0, -10.9, -11.1))
    arms = summarise(place, {"oracle": best, "ours": ours, "worse": worse}, (0,), 1)["arms"]
    assert [arms[name]["reached"] for name in ("oracle", "ours", "worse")] == [1, 1, 0]


def test_reaching_is_of_a_mean_over_terms() -> None:
    nothing = np.full((1, 3), np.nan)
    assert steps_to(nothing, 0.0, 2).tolist() == [4]
    assert steps_to(np.array([[9.0, 0.0, 5.0, 6.0]]), 5.0, 2).tolist() == [4], "one lucky term is not enough"
    assert steps_to(np.array([[9.0]]), 5.0, 3).tolist() == [1], "of as many terms as there are"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("societies", ("fishery",)),
        ("societies", ()),
        ("room_principals", ("king",)),
        ("commons_principals", ("llm",)),
        ("seeds", ()),
        ("seeds", (1, 1)),
        ("room_terms", 0),
        ("last", 0),
        ("film_every", -1),
        ("room_episodes", 0),
        ("commons_episodes", 0),
        ("cleanup_episodes", 0),
        ("commons_length", 0),
        ("room_values", 1),
        ("commons_values", 1),
        ("oracle_refinements", -1),
        ("oracle_terms", 0),
        ("oracle_judged", 0),
        ("threads", 0),
        ("price_in", float("nan")),
        ("price_out", -1.0),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"\b{field}\b.*: expected"):
        replace(TINY, **{field: value})  # type: ignore[arg-type]


def test_what_a_society_cannot_be_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="agents: expected a whole number from 2"):
        replace(rules_of("harvest"), agents=1)
    words = ["--out", str(tmp_path / "core"), "--societies", "harvest", "--core", "nowhere"]
    assert cli.main(["run", "policymakers", "--preset", "tiny", *words]) == 2
    words = ["--out", str(tmp_path / "replayed"), "--societies", "settled_room", "--replay", "nowhere"]
    assert cli.main(["run", "policymakers", "--preset", "tiny", *words]) == 2
    assert not list(tmp_path.iterdir()), "what is refused leaves no folder behind"


def test_a_run_does_not_go_on_under_other_settings(finished: Path, tmp_path: Path) -> None:
    """Whatever field is changed, the refusal names it and leaves everything as it was."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    others = {"societies": ("room",), "language": (), "seeds": (0, 2), "replay": tmp_path}
    others |= {"core": Path(str(SHIPPED / "core_harvest.safetensors"))}
    others |= {"room_principals": ("random",), "commons_principals": ("random",)}
    others |= {"price_in": 1.0, "price_out": 1.0, "threads": 1}
    for field, value in asdict(TINY).items():
        other = others[field] if field in others else value + 1
        if field in FREE:
            continue
        with pytest.raises(ConfigError, match=f"parts of other settings: {field} differ"):
            main(replace(TINY, **{field: other}), resume=copy)  # type: ignore[arg-type]
    words = ["run", "policymakers", "--resume", str(copy)]
    assert cli.main([*words, "--room-terms", "5", "--seeds", "0", "1", "2"]) == 2
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    main(replace(TINY, **{field: others[field] for field in FREE}), resume=copy)  # type: ignore[arg-type]
    assert timeless(Run.open(copy).summary()["societies"]) == timeless(Run.open(finished).summary()["societies"])
