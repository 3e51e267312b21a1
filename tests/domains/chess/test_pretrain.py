"""Training on packs: a row is learned as its games alone would be, every token once, and exactly so after a kill."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from surpass.core import Observation
from surpass.domains.chess import pretrain as module
from surpass.domains.chess.blocks import Blocks
from surpass.domains.chess.filters import Filter
from surpass.domains.chess.lessons import Pupil, held_out_loss, lessons, visible
from surpass.domains.chess.model_player import ModelPlayer
from surpass.domains.chess.pretrain import MODEL, PretrainOptions, main, pretrain
from surpass.domains.chess.saved import load
from surpass.domains.chess.shapes import SHAPES, build
from surpass.domains.chess.shards import Pack, write_pack
from surpass.domains.chess.tokens import SPECIALS, Characters, Moves, Vocabulary
from surpass.errors import ConfigError, DataError, ModelError
from surpass.models.checkpoint import Placement
from surpass.objectives.batch import collate, log_return, push
from surpass.objectives.likelihood import likelihood
from tests.domains.chess.played import pgn_of, random_game

MOVES = Moves()


def packed(folder: Path, vocabulary: Vocabulary = MOVES, *, games: int = 60) -> Pack:
    path = folder / "games.pgn"
    path.write_text("".join(pgn_of(random_game(seed, 10 + seed % 30)) for seed in range(games)))
    return write_pack([path], folder / "pack", vocabulary, keep=Filter(initial=True))[0]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return packed(tmp_path_factory.mktemp("games"))


def options(source: Pack, out: Path, **other: object) -> PretrainOptions:
    base = PretrainOptions(source.folder, out, "tiny", steps=6, rows=3, valid_share=0.1, checkpoint_every=2)
    return replace(base, evaluate_every=3, **other)  # type: ignore[arg-type]


def test_games_of_a_row_are_learned_as_each_alone(pack: Pack) -> None:
    """Oracle: the network reads each game by itself, without any mask."""
    shape = SHAPES["tiny"]
    pupil = Pupil(build(shape, MOVES, 0), MOVES)
    blocks = Blocks(pack, shape.context, "games", "all")
    found = lessons(blocks, 4)(0)
    with torch.no_grad():
        rows = pupil.logp(found)
    block = blocks.block(0, 4)
    assert int(block.document.max()) > 0  # some row holds several games
    for row, lesson in enumerate(found):
        expected = list[float]()
        for document in range(int(block.document[row].max()) + 1):
            here = block.document[row] == document
            tokens = torch.from_numpy(block.tokens[row][here])[None]
            with torch.no_grad():
                logp = pupil.network(input_ids=tokens, use_cache=False).logits[0].log_softmax(-1)
            targets = block.targets[row][here]
            expected += [
                float(logp[at, token])
                for at, (token, learned) in enumerate(zip(targets, block.mask[row][here], strict=True))
                if learned
            ]
        assert len(expected) == len(lesson.steps[0].proposal.tokens)
        assert torch.allclose(rows[row, : len(expected)], torch.tensor(expected), atol=1e-5)
        assert not rows[row, len(expected) :].any()


def test_a_stream_needs_no_mask_and_games_do(pack: Pack) -> None:
    for boundaries, masked in (("stream", False), ("games", True)):
        block = Blocks(pack, 64, boundaries, "all").block(0, 2)  # type: ignore[arg-type]
        seen = visible(torch.from_numpy(block.document), torch.from_numpy(block.position))
        assert (seen is not None) == masked


def test_an_epoch_of_lessons_holds_every_token_once(pack: Pack) -> None:
    blocks = Blocks(pack, 64, "games", "train", valid_share=0.1)
    rows = 3
    steps, left = divmod(blocks.rows, rows)
    learned = sum(
        len(lesson.steps[0].proposal.tokens) for step in range(steps) for lesson in lessons(blocks, rows)(step)
    )
    last = blocks.block(steps, rows).mask[:left].sum()
    assert learned + last == blocks.targets


def test_one_pass_gives_the_gradient_of_two(pack: Pack) -> None:
    """A batch that fits in one micro-batch keeps its graph; in several it is read twice. The gradients agree."""
    found = lessons(Blocks(pack, 64, "games", "all"), 4)(0)
    gradients = []
    for micro_batch in (4, 1):
        pupil = Pupil(build(SHAPES["tiny"], MOVES, 0), MOVES)
        batch = collate(pupil, found, log_return, micro_batch=micro_batch, keep=True)
        assert (batch.graph is not None) == (micro_batch == 4)
        loss, _ = likelihood(batch, normalise="token", accepted_only=False)
        torch.autograd.backward(loss)
        taken = push(pupil, found, batch, micro_batch=micro_batch)
        assert taken == int(batch.mask.sum())
        gradients.append(torch.cat([one.grad.flatten() for one in pupil.parameters() if one.grad is not None]))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)
    assert gradients[0].abs().max() > 1e-3


def test_training_learns_and_leaves_a_model_that_plays(pack: Pack, tmp_path: Path) -> None:
    out = tmp_path / "run"
    row = pretrain(options(pack, out, steps=40, rows=8))
    losses = [line["loss"] for line in map(json.loads, (out / "metrics.jsonl").read_text().splitlines())]
    assert losses[-1] < losses[0] - 0.5
    assert row["eval/loss"] < losses[0] - 0.5  # held-out games, too
    network, vocabulary = load(out)
    assert isinstance(vocabulary, Moves)
    (proposals,) = ModelPlayer(network, vocabulary).propose([Observation("e2e4")], 1, seeds=[0])
    assert proposals[0].action in MOVES.place
    before = (out / MODEL / "model.safetensors").stat().st_mtime_ns
    assert pretrain(options(pack, out, steps=40, rows=8)) == row  # a finished run is left as it is
    assert (out / MODEL / "model.safetensors").stat().st_mtime_ns == before


def test_an_interrupted_run_ends_as_it_would_have(pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pretrain(options(pack, tmp_path / "whole"))
    calls = 0

    def torn(blocks: Blocks, rows: int) -> object:
        ask = lessons(blocks, rows)

        def of_step(step: int) -> object:
            nonlocal calls
            calls += 1
            if calls == 6:  # in the middle of step 6: the checkpoint is of step 4
                raise KeyboardInterrupt
            return ask(step)

        return of_step

    monkeypatch.setattr(module, "lessons", torn)
    assert main(options(pack, tmp_path / "torn")) == 130
    monkeypatch.undo()
    again = pretrain(options(pack, tmp_path / "torn"))
    timeless = {name: value for name, value in whole.items() if "seconds" not in name}
    assert timeless == {name: value for name, value in again.items() if "seconds" not in name}
    first, second = (load(tmp_path / name)[0].state_dict() for name in ("whole", "torn"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    lines = (tmp_path / "torn" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_bfloat16_products_change_little_and_leave_weights_exact(pack: Pack) -> None:
    found = lessons(Blocks(pack, 64, "games", "all"), 4)(0)
    exact, rough = (
        Pupil(build(SHAPES["tiny"], MOVES, 0), MOVES, placement=Placement(autocast=autocast))
        for autocast in (None, torch.bfloat16)
    )
    first, second = exact.logp(found), rough.logp(found)
    assert second.dtype == torch.float32
    assert 0 < float((first - second).detach().abs().max()) < 0.1
    torch.autograd.backward(second.sum())
    assert {one.dtype for one in rough.parameters()} == {torch.float32}
    assert all(one.grad is not None and one.grad.dtype == torch.float32 for one in rough.parameters())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
@pytest.mark.filterwarnings("default")  # torch's own, of its compiler
def test_a_compiled_network_learns_the_same(pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))  # another's may hold what a kill has torn
    found = lessons(Blocks(pack, 64, "games", "all"), 4)(0)
    plain, compiled = (Pupil(build(SHAPES["tiny"], MOVES, 0), MOVES, compiled=one) for one in (False, True))
    for pupil in (plain, compiled):
        torch.autograd.backward(pupil.logp(found).sum())
    with torch.no_grad():
        assert torch.allclose(compiled.logp(found), plain.logp(found), atol=1e-4)
    for own, other in zip(compiled.parameters(), plain.parameters(), strict=True):
        assert own.grad is not None
        assert other.grad is not None
        assert torch.allclose(own.grad, other.grad, atol=1e-3)
    row = pretrain(options(pack, tmp_path / "run", steps=2, compiled=True, autocast="bf16", valid_share=0.0))
    assert math.isfinite(row["loss"])
    assert load(tmp_path / "run")[0].config.num_hidden_layers == SHAPES["tiny"].layers  # saved under its own names


def test_seeds_differ_in_weights_and_order(pack: Pack, tmp_path: Path) -> None:
    first, second = (pretrain(options(pack, tmp_path / str(seed), steps=2, seed=seed)) for seed in (0, 1))
    assert first["loss"] != second["loss"]


def test_characters_are_learned_by_a_network_of_learned_positions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(SHAPES["50m"], layers=2, width=32, heads=2, context=64, rows=4, warmup=2, learning_rate=3e-3)
    monkeypatch.setitem(SHAPES, "50m", small)
    pack = packed(tmp_path, Characters(results=False))
    chosen = PretrainOptions(pack.folder, tmp_path / "run", "50m", steps=12, evaluate_every=6, valid_share=0.1)
    row = pretrain(chosen)
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert row["eval/loss"] < first["loss"]
    network, vocabulary = load(tmp_path / "run")
    assert vocabulary == Characters(results=False)
    assert network.config.n_positions == 64


def test_the_paper_s_preset_has_its_size() -> None:
    shape = SHAPES["50m"]
    assert (shape.layers, shape.heads, shape.width, shape.context, shape.rows) == (16, 8, 512, 1023, 125)
    with torch.device("meta"):
        network = build(shape, Characters(results=False), 0)
    assert 50_000_000 < sum(one.numel() for one in network.parameters()) < 52_000_000
    ours = build(SHAPES["1m"], MOVES, 0)
    assert 1_000_000 < sum(one.numel() for one in ours.parameters()) < 1_200_000


def test_moves_that_share_a_square_begin_alike() -> None:
    table = cast(nn.Embedding, build(SHAPES["1m"], MOVES, 0).get_input_embeddings())
    weight = table.weight.detach().double().numpy()
    at = {name: weight[token] for name, token in MOVES.place.items() if token >= len(SPECIALS)}
    difference = (at["e2e4"] - at["e2e3"]) - (at["d3e4"] - at["d3e3"])
    assert np.abs(difference).max() < 1e-6  # the squares they leave cancel
    assert np.corrcoef(at["a1a2"], at["a1h8"])[0, 1] > 0.25 > abs(np.corrcoef(at["a1a2"], at["g8f6"])[0, 1])


def test_held_out_loss_is_the_mean_over_held_out_tokens(pack: Pack) -> None:
    pupil = Pupil(build(SHAPES["tiny"], MOVES, 0), MOVES)
    blocks = Blocks(pack, 64, "games", "valid", valid_share=0.3)
    found = held_out_loss(pupil, blocks, 1, batches=1000)
    total = count = 0.0
    for step in range(blocks.rows):
        rows = pupil.logp(lessons(blocks, 1)(step)).detach()
        total, count = total - float(rows.sum()), count + float((rows != 0).sum())
    assert found["tokens"] == count == blocks.targets
    assert found["loss"] == pytest.approx(total / count, rel=1e-5)


def test_a_pupil_plays_and_speaks_its_vocabulary() -> None:
    pupil = Pupil(build(SHAPES["tiny"], MOVES, 0), MOVES)
    rows = pupil.propose([Observation(""), Observation("e2e4")], 2, seeds=[1, 2])
    assert [len(row) for row in rows] == [2, 2]
    assert pupil.tempered(0.5).propose([Observation("")], 1, seeds=[1])
    assert pupil.encode("e2e4") == (MOVES.place["e2e4"],)
    with pytest.raises(DataError, match="UCI"):
        pupil.encode("e9e9")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"preset": "50m"}, "characters"),
        ({"length": 65}, "at most 64"),
        ({"device": "teapot"}, "device: expected one that computes here"),
        ({"pack": Path("nowhere")}, "no pack"),
    ],
)
def test_what_does_not_fit_is_told(pack: Pack, tmp_path: Path, wrong: dict[str, object], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        pretrain(options(pack, tmp_path / "run", **wrong))
    assert not (tmp_path / "run").exists(), "the right command would be refused there"


def test_bad_numbers_and_foreign_folders_are_refused(pack: Pack, tmp_path: Path) -> None:
    for wrong in ({"preset": "huge"}, {"rows": 0}, {"steps": -1}, {"epochs": 0.0}, {"valid_share": 1.0}):
        with pytest.raises(ConfigError):
            options(pack, tmp_path, **wrong)
    endless = ({"epochs": math.inf}, {"learning_rate": math.nan}, {"learning_rate": -1.0}, {"learning_rate": 0.0})
    for wrong in (*endless, {"micro_rows": -1}, {"evaluate_every": 0}, {"checkpoint_every": 0}):
        with pytest.raises(ConfigError):
            PretrainOptions(**wrong)
    out = tmp_path / "run"
    pretrain(options(pack, out, steps=1))
    with pytest.raises(ConfigError, match="seed"):
        pretrain(options(pack, out, steps=1, seed=5))


def test_a_diverging_run_stops(pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = options(pack, tmp_path / "run", steps=30)
    broken = partial(build)

    def poisoned(*arguments: object) -> object:
        network = broken(*arguments)  # type: ignore[arg-type]
        with torch.no_grad():
            next(iter(network.parameters())).fill_(float("nan"))
        return network

    monkeypatch.setattr(module, "build", poisoned)
    with pytest.raises(ModelError, match="not finite"):
        pretrain(chosen)
