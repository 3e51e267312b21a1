"""The latent map: states are the network's, what can be read off is measured on other games, and the page shows all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from surpass.cli import main as command_line
from surpass.domains.chess.character_player import CharacterPlayer
from surpass.domains.chess.favor import visits
from surpass.domains.chess.latent import fragment, hidden, project, readable
from surpass.domains.chess.model_player import ModelPlayer
from tests.domains.chess.played import pgn_of, random_game
from tests.domains.chess.tiny import CHARACTERS, MOVES, network, run_folder

pytest.importorskip("sklearn", reason="maps need scikit-learn, of the extra [chess]")


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_states_lead_to_the_logits_whatever_else_is_read(kind: str) -> None:
    model = network(MOVES.size, kind=kind)
    player = ModelPlayer(model, MOVES, cached=False)
    seen = [one.observation for one in visits([random_game(0, 9), random_game(1, 70)])]
    states = hidden(player, seen)
    assert states.shape == (len(seen), 32)
    assert hidden(player, seen[-1:]) == pytest.approx(states[-1:], abs=1e-4)
    with torch.inference_mode():
        head: torch.nn.Module = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        logits = head(torch.tensor(states, dtype=torch.float32))
        for row in (0, len(seen) - 1):
            whole = model(torch.tensor([player.prompts(seen[row : row + 1])[0]])).logits[0, -1]
            assert logits[row].tolist() == pytest.approx(whole.tolist(), abs=1e-3)


def test_a_model_of_characters_has_states_too() -> None:
    player = CharacterPlayer(network(CHARACTERS.size), CHARACTERS)
    seen = [one.observation for one in visits([random_game(0, 9)])]
    assert hidden(player, seen).shape == (9, 32)
    assert CHARACTERS.text(player.prompts(seen[:1])[0]) == ";1."


def test_what_can_be_read_off_is_told_apart_from_what_cannot() -> None:
    rng = np.random.default_rng(0)
    states, games = rng.normal(size=(400, 6)), [str(n // 8) for n in range(400)]
    told = readable(states, 0.5 + 0.1 * states[:, 0] + 0.02 * rng.normal(size=400), games)
    assert told.linear > 0.9
    assert told.neighbours > 0.2
    assert told.shuffled < 0.05
    nothing = readable(states, rng.normal(size=400), games)
    assert max(nothing.linear, nothing.neighbours) < 0.05
    assert readable(states, np.full(400, 0.5), games).linear == 0


def test_knowing_the_game_alone_is_not_enough() -> None:
    """States that name their game and scores that are equal within a game: nothing is told of other games."""
    rng = np.random.default_rng(1)
    game = np.arange(300) // 10
    states = rng.normal(size=(30, 8))[game]
    assert readable(states, rng.normal(size=30)[game], [str(one) for one in game]).linear < 0.1


def test_maps_are_the_same_again_and_keep_clusters() -> None:
    rng = np.random.default_rng(0)
    states = np.concatenate([rng.normal(size=(30, 10)), 20 + rng.normal(size=(30, 10))])
    for method in ("pca", "tsne"):
        points = project(states, method, seed=1)
        assert points.shape == (60, 2)
        assert np.array_equal(project(states, method, seed=1), points)
        middles = points[:30].mean(0), points[30:].mean(0)
        spread = max(points[:30].std(), points[30:].std())
        assert np.linalg.norm(middles[0] - middles[1]) > spread
    places = visits([random_game(0, 60)])
    shown = fragment(points[: len(places)], np.linspace(0, 1, len(places)), places)
    assert places[5].fen.split(" ")[0] in shown.replace("\\u002f", "/")


@pytest.mark.stockfish
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_folder(tmp_path / "run")
    (tmp_path / "g.pgn").write_text("".join(pgn_of(random_game(seed, 10)) for seed in range(8)))
    words = ["chess", "latent", str(tmp_path / "g.pgn"), "--run", str(run), "--nodes", "100", "--method", "pca"]
    assert command_line([*words, "--positions", "40", "--out", str(tmp_path / "l")]) == 0
    stored = (tmp_path / "l" / "latent.json").read_text()
    assert set(json.loads(stored)) == {"neighbours", "linear", "shuffled", "positions", "asked"}
    assert command_line([*words, "--positions", "39", "--out", str(tmp_path / "l")]) == 2
    assert "holds another result, positions differ" in capsys.readouterr().err
    assert (tmp_path / "l" / "latent.json").read_text() == stored
    page = (tmp_path / "l" / "latent.html").read_text()
    assert "White expects" in page
    assert "https://cdn" not in page[:2000]
    assert command_line([*words, "--positions", "5", "--out", str(tmp_path / "m")]) == 2
    assert "expected 20 positions of 5 games" in capsys.readouterr().err
