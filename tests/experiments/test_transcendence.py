"""The experiment in its tiny preset: whole, killed in the middle of a match, and with wrong settings; its verdicts."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from rich.progress import Progress

from surpass.domains.chess.expert_games import ExpertOptions, run
from surpass.domains.chess.match import Recorded
from surpass.errors import ConfigError
from surpass.evaluation.elo import Difference, Game, rate
from surpass.experiments import transcendence
from surpass.experiments.transcendence import PAWNS, PRESETS, Config, main
from surpass.experiments.transcendence_closer import look_closer
from surpass.experiments.transcendence_runs import (
    Entry,
    entries,
    entry_match,
    experts,
    game_sets,
    opponents,
    pool_match,
)
from surpass.experiments.transcendence_table import Conduct, side, verdict
from surpass.store import Run

TINY = PRESETS["tiny"]
assert isinstance(TINY, Config)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return main(TINY, out=tmp_path_factory.mktemp("runs") / "tiny")


def test_a_run_ends_with_ratings_verdicts_causes_and_a_page(finished: Path) -> None:
    summary = Run.open(finished).summary()["measured"]
    modes = {f"noisy {mode} {temperature:g}" for mode in TINY.modes for temperature in TINY.temperatures}
    assert set(summary["models"]) == {*modes, "noisy majority"}
    for name, row in summary["models"].items():
        assert row["low"] <= row["minus_best_expert"] <= row["high"]
        assert row["verdict"] == verdict(Difference(row["minus_best_expert"], row["low"], row["high"], 0.5))
        longer = TINY.chosen_times if name.endswith(" 0") else 1  # the majority's vote is no temperature
        assert row["games"] == (1 if "majority" in name else 2) * TINY.match_games * 2 * longer
        assert len(row["by_seed"]) == (1 if "majority" in name else 2)
        if "legal" in name or "majority" in name:
            assert row["illegal_share"] == row["forfeit_share"] == 0
    assert summary["best_expert"]["noisy"] in ("greedy epsilon=0.5", "random")
    assert set(summary["experts"]) == {"greedy epsilon=0.5", "random"}
    assert all("<path" in (finished / f"{name}.svg").read_text(encoding="utf-8") for name in ("ratings", "illegal"))
    page = (finished / "report.html").read_text(encoding="utf-8")
    for expected in ("Models of noisy", "Elo above the best expert", "polyline", "greedy epsilon=0.5", "undecided"):
        assert expected in page


def test_causes_add_up(finished: Path) -> None:
    causes = Run.open(finished).summary()["measured"]["causes"]
    assert set(causes) == {"noisy 0"}
    for parts in causes.values():
        assert parts["raw gain"][0] == pytest.approx(parts["wisdom"][0] + parts["legality"][0], abs=1e-6)
        assert all(low <= elo <= high for elo, low, high in parts.values())


def test_every_game_is_on_disk_and_openings_are_paired(finished: Path) -> None:
    for entry in entries(TINY):
        match = entry_match(TINY, finished, entry)
        assert set(match.record) == {pairing.round for pairing in match.pairings}
        colours: dict[tuple[str, str], list[str]] = {}
        for one in match.record.values():
            rival = one.black if one.white == entry.name else one.white
            colours.setdefault((rival, one.unit), []).append(one.white)
        assert all(sorted(whites) == sorted({entry.name, rival}) for (rival, _), whites in colours.items())
    first, second = (entry_match(TINY, finished, entry).pairings for entry in list(entries(TINY))[:2])
    chosen, other = ([one.opening for one in match] for match in (first, second))
    assert chosen[: len(other)] == other
    assert len(chosen) == TINY.chosen_times * len(other)


def test_a_temperature_by_itself_is_told_by_its_own_games(finished: Path) -> None:
    summary = Run.open(finished).summary()
    table = summary["tables"]["Each temperature by itself"]
    best = summary["measured"]["best_expert"]["noisy"]
    assert [row[0] for row in table["rows"]] == ["noisy 0", "noisy 1"]
    scores = {"1-0": 1.0, "1/2-1/2": 0.5, "0-1": 0.0}
    for row, temperature in zip(table["rows"], TINY.temperatures, strict=True):
        for mode, cell, elo in zip(TINY.modes, row[1::2], row[2::2], strict=True):
            points, alone = [], list(pool_match(TINY, finished).record.values())
            for entry in (Entry("noisy", seed, mode, temperature) for seed in TINY.seeds):
                games = entry_match(TINY, finished, entry).record.values()
                alone += games
                points += [scores[one.result] for one in games if (one.white, one.black) == (entry.name, best)]
                points += [1 - scores[one.result] for one in games if (one.white, one.black) == (best, entry.name)]
            assert int(cell.split()[0]) == round(100 * sum(points) / len(points))
            fit = rate(Game(one.white, one.black, scores[one.result]) for one in alone)
            rating = {name: float(fit.elo[fit.row[name]]) for name in fit.players}
            mean = sum(rating[f"noisy {seed} {mode} {temperature:g}"] for seed in TINY.seeds) / len(TINY.seeds)
            assert float(elo.split()[0]) == round(mean - max(rating[name] for name in experts(TINY)))


def test_one_fit_rates_models_and_experts_together(finished: Path) -> None:
    summary = Run.open(finished).summary()["measured"]
    records = [pool_match(TINY, finished).record.values()]
    records += [entry_match(TINY, finished, entry).record.values() for entry in entries(TINY)]
    scores = {"1-0": 1.0, "1/2-1/2": 0.5, "0-1": 0.0}
    fit = rate(Game(one.white, one.black, scores[one.result]) for record in records for one in record)
    assert len(fit.players) == len(list(entries(TINY))) + len(experts(TINY))
    for name, (elo, low, high) in summary["experts"].items():
        assert elo == pytest.approx(fit.elo[fit.row[name]], abs=1e-6)
        assert (low, high) == pytest.approx(fit.interval(name), abs=1e-6)
    best = summary["best_expert"]["noisy"]
    gaps = [fit.difference(f"noisy {seed} legal 0", best).elo for seed in TINY.seeds]
    assert summary["models"]["noisy legal 0"]["minus_best_expert"] == pytest.approx(sum(gaps) / 2, abs=1e-6)
    assert [gap[0] for gap in summary["models"]["noisy legal 0"]["by_seed"]] == pytest.approx(gaps, abs=1e-6)


def test_a_killed_run_goes_on_where_it_was(finished: Path, tmp_path: Path) -> None:
    """A copy that lost a model, half of one match, another match, and the end of a third ends the same."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    matches = copy / "matches"
    shutil.rmtree(copy / "models" / "noisy-1")
    shutil.rmtree(matches / "noisy-0-raw-1")
    half = matches / "noisy-0-legal-0" / "games.pgn"
    games = half.read_text().split("\n\n[")
    half.write_text("\n\n[".join(games[: len(games) // 2]) + "\n\n")
    torn = matches / "pool" / "games.pgn"
    torn.write_bytes(torn.read_bytes()[:-20])
    (copy / "summary.json").unlink()
    kept = {path: path.stat().st_mtime_ns for path in matches.glob("noisy-1-*/games.pgn")}
    main(TINY, resume=copy)
    for path in sorted((finished / "matches").glob("*/games.pgn")):
        again = (matches / path.parent.name / "games.pgn").read_text()
        # The order of a resumed match may differ; its games do not.
        assert sorted(again.split("\n\n[Event")) == sorted(path.read_text().split("\n\n[Event")) or sorted(
            game.removeprefix("[Event").strip() for game in again.split("\n\n[Event")
        ) == sorted(game.removeprefix("[Event").strip() for game in path.read_text().split("\n\n[Event"))
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())
    before, after = (json.loads((folder / "summary.json").read_text()) for folder in (finished, copy))
    for name, row in before["measured"]["models"].items():
        assert {
            key: after["measured"]["models"][name][key] for key in ("elo", "low", "high", "illegal_share")
        } == pytest.approx({key: row[key] for key in ("elo", "low", "high", "illegal_share")})


def test_games_are_not_added_after_a_look_at_the_results(finished: Path) -> None:
    for added in ({"match_games": 4}, {"chosen_times": 3}, {"chosen": (0.0, 1.0)}, {"pool_games": 4}):
        with pytest.raises(ConfigError, match=next(iter(added))):
            main(replace(TINY, **added), resume=finished)


@pytest.mark.slow
def test_processes_play_the_same_games(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy, ignore=shutil.ignore_patterns("matches", "summary.json"))
    config = replace(TINY, jobs=2, temperatures=(0.0,), modes=("legal",), majority_plies=0)
    Run(copy).write_config({"experiment": "transcendence", **asdict(config)})
    main(config, resume=copy)
    for seed in TINY.seeds:
        first, second = (
            sorted((folder / "matches" / f"noisy-{seed}-legal-0" / "games.pgn").read_text().split("\n\n[Event"))
            for folder in (finished, copy)
        )
        assert {game.split("\n\n", 1)[1].strip() for game in first} == {
            game.split("\n\n", 1)[1].strip() for game in second
        }


@pytest.mark.stockfish
def test_a_closer_look_judges_the_model_and_measures_its_games(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "summary.json").unlink()
    config = replace(TINY, favor_positions=3, favor_nodes=200)
    main(config, resume=copy)
    table = Run.open(copy).summary()["tables"]["Favor of noisy"]
    assert [row[0] for row in table["rows"]] == ["T 1", "T 0"]
    reference = table["rows"][0]
    assert reference[2] == "0.00 (0.00 to 0.00)"  # nothing is gained over itself
    judged = json.loads((copy / "favor" / "noisy" / "favor.json").read_text())
    assert judged["positions"] == 3
    assert (copy / "favor" / "noisy" / "favor.html").exists()
    assert "Favor of T 0 over T 1 in 3 positions" in (copy / "favor" / "noisy" / "distribution.svg").read_text()
    assert "Favor of noisy" in (copy / "report.html").read_text(encoding="utf-8")


def test_the_entropy_of_random_moves_is_that_of_the_legal_ones(tmp_path: Path) -> None:
    """Enough games to share the initial position: uniform moves have all the entropy there is, nearly."""
    config = replace(TINY, sets=("even: random",), games=104, start=PAWNS, favor_positions=0)
    for one in game_sets(config):
        path = tmp_path / "sets" / one.name / "games.pgn"
        run(ExpertOptions(path, one.experts, one.games, start=config.start, jobs=1))
    with Progress(disable=True) as progress:
        (table,) = look_closer(config, tmp_path, progress).values()
    (even,) = table["rows"]
    assert even[:2] == ["even", "104"]
    assert float(even[3].split()[0]) > 0.9


def test_verdicts_are_those_of_the_definition() -> None:
    cases = {
        (60, 1, 119): ("transcendence", "above"),
        (20, 5, 35): ("transcendence", "above"),  # near the expert, and surely above
        (-10, -49, 29): ("absence", "across"),
        (-30, -45, -15): ("absence", "below"),
        (40, -1, 81): ("undecided", "across"),
        (-300, -350, -250): ("undecided", "below"),
    }
    for (elo, low, high), expected in cases.items():
        gap = Difference(elo, low, high, 0.5)
        assert (verdict(gap), side(gap)) == expected


def test_conduct_counts_the_tries_of_one_player_alone() -> None:
    games = [
        Recorded(1, "model", "rival", "0-1", "illegal move", "1", (5, 1), (10, 10)),  # it forfeits
        Recorded(2, "rival", "model", "0-1", "illegal move", "1", (5, 2), (8, 8)),  # the other forfeits
        Recorded(3, "model", "rival", "1/2-1/2", "stalemate", "2", (0, 0), (20, 20)),
        Recorded(4, "model", "rival", "*", "failure", "2", (3, 0), (1, 1)),  # no result: not counted
    ]
    assert Conduct.of("model", games) == Conduct(10 + 8 + 20 + 7, 7, 3, 1, 0.5)


def test_sets_are_read_as_they_are_typed() -> None:
    config = replace(TINY, sets=("a games=7: random; greedy  epsilon=0.1", "b: random"), others=("greedy",))
    first, second = game_sets(config)
    assert (first.name, first.games, first.experts) == ("a", 7, ("random", "greedy epsilon=0.1"))
    assert (second.name, second.games, second.experts) == ("b", TINY.games, ("random",))
    assert experts(config) == ["random", "greedy epsilon=0.1", "greedy"]
    (own, *_) = [entry for entry in entries(config) if entry.game_set == "b"]
    assert opponents(config, own) == ["random", "greedy"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sets": ("no colon",)}, "NAME"),
        ({"sets": ("a: random", "a: greedy")}, "names of their own"),
        ({"sets": ("a: queen",)}, "queen"),
        ({"sets": ()}, "names of their own"),
        ({"sets": ("a: random",), "others": ("random",)}, "two experts"),
        ({"model": "huge"}, "huge"),
        ({"modes": ("lawful",)}, "raw, legal"),
        ({"temperatures": (-1.0,)}, "at least 0"),
        ({"match_games": 3}, "even"),
        ({"chosen": (0.5,)}, "--chosen among --temperatures"),
        ({"chosen_times": 0}, "chosen_times: expected 1"),
        ({"seeds": ()}, "seeds"),
        ({"temperatures": (math.nan,)}, "at least 0"),
        ({"epochs": math.inf}, "epochs"),
        ({"games": 0}, "games: expected 1"),
        ({"max_plies": -1}, "max_plies: expected 0"),
        ({"device": "teapot"}, "device"),
    ],
)
def test_wrong_settings_are_told(wrong: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        main(replace(TINY, **wrong), out=tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_presets_are_what_they_say() -> None:
    small, full = PRESETS["small"], PRESETS["full"]
    assert len(small.seeds) >= 3
    assert set(transcendence.PAPER) | {0.0} == set(small.temperatures) == set(full.temperatures)
    assert len(transcendence.PAPER) == 8
    assert all(math.isfinite(one) for one in small.temperatures)
    assert small.chosen == full.chosen == (min(transcendence.PAPER), 1.0)
