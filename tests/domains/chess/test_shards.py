"""Packs hold every game exactly once, whole, whatever interrupts the writing; blocks show every token exactly once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from surpass.domains.chess import shards
from surpass.domains.chess.blocks import Blocks, Boundaries, best_fit
from surpass.domains.chess.filters import Filter
from surpass.domains.chess.games import Game
from surpass.domains.chess.pack import PackOptions
from surpass.domains.chess.shards import Pack, open_pack, play_of, write_pack
from surpass.domains.chess.tokens import Characters, Moves, Vocabulary
from surpass.errors import ConfigError, DataError
from tests.domains.chess.played import pgn_of, random_game

GAMES = [random_game(seed, 3 + 7 * seed % 60, (1000 + seed, 1000 if seed % 2 else None)) for seed in range(60)]
KEEP = Filter(initial=True)
KINDS: list[Vocabulary] = [Moves(), Moves(strength=True), Characters(), Characters(results=False, strength=True)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "games.pgn"
    path.write_text("".join(map(pgn_of, GAMES)))
    return path


def stream(pack: Pack) -> list[int]:
    return [token for shard in pack.shards for token in shard.tolist()]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def written(kind: Vocabulary, games: list[Game]) -> list[int]:
    return [token for game in games for token in kind.encode(play_of(game, kind.notation))]


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_a_pack_is_its_games_one_after_the_other_each_once(source: Path, tmp_path: Path, kind: Vocabulary) -> None:
    """No opening is written again and no ending is lost: the tokens laid end to end are the games', nothing else."""
    pack, report = write_pack([source], tmp_path / "pack", kind, keep=KEEP, shard_tokens=500)
    assert len(pack.shards) > 3
    assert report.kept == len(pack) == len(GAMES)
    assert stream(pack) == written(kind, GAMES)
    assert [pack.game(number) for number in range(len(pack))] == [
        kind.decode(kind.encode(play_of(game, kind.notation))) for game in GAMES
    ]
    assert pack.vocabulary == kind


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize("after", [0, 1, 2, 5, 9, 14])
def test_a_killed_writer_goes_on_and_nothing_is_doubled_or_lost(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    whole = files(write_pack([source], tmp_path / "whole", Moves(), keep=KEEP, shard_tokens=400)[0].folder)
    write, left = shards._write, after

    def failing(path: Path, data: bytes) -> None:
        nonlocal left
        if not left:
            path.with_name(path.name + ".new").write_bytes(data[: len(data) // 2])
            raise Killed
        left -= 1
        write(path, data)

    monkeypatch.setattr(shards, "_write", failing)
    with pytest.raises(Killed):
        write_pack([source], tmp_path / "pack", Moves(), keep=KEEP, shard_tokens=400)
    monkeypatch.setattr(shards, "_write", write)
    if after:
        beginning = open_pack(tmp_path / "pack")
        assert stream(beginning) == written(Moves(), GAMES[: len(beginning)])
    else:
        for path in (tmp_path / "pack").iterdir():
            path.unlink()  # not even the index came to be
    pack, _ = write_pack([source], tmp_path / "pack", Moves(), keep=KEEP, shard_tokens=400)
    assert stream(pack) == written(Moves(), GAMES)
    assert files(pack.folder) == whole


def test_a_writer_that_the_system_kills_goes_on(source: Path, tmp_path: Path) -> None:
    source.write_text("".join(map(pgn_of, GAMES)) * 8)
    code = (
        "from pathlib import Path; from surpass.domains.chess.pack import *; "
        f"main(PackOptions((Path({str(source)!r}),), out=Path({str(tmp_path / 'pack')!r}), shard_tokens=300, "
        "keep=Filter(initial=True, duplicates=False)))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (tmp_path / "pack" / "00003.keys.npy").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    assert process.wait() < 0
    assert not json.loads((tmp_path / "pack" / "pack.json").read_text())["complete"]
    keep = Filter(initial=True, duplicates=False)
    pack, report = write_pack([source], tmp_path / "pack", Moves(), keep=keep, shard_tokens=300)
    assert report.read == report.kept == len(pack) == 480
    assert stream(pack) == written(Moves(), GAMES) * 8


def test_duplicates_are_known_across_an_interruption(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.write_text("".join(map(pgn_of, GAMES)) * 2)
    write, left = shards._write, 20

    def failing(path: Path, data: bytes) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Killed
        write(path, data)

    monkeypatch.setattr(shards, "_write", failing)
    with pytest.raises(Killed):
        write_pack([source], tmp_path / "pack", Moves(), keep=KEEP, shard_tokens=300)
    monkeypatch.setattr(shards, "_write", write)
    pack, report = write_pack([source], tmp_path / "pack", Moves(), keep=KEEP, shard_tokens=300)
    assert stream(pack) == written(Moves(), GAMES)
    assert (report.read, report.dropped) == (120, Counter(duplicate=60))


def test_a_finished_pack_is_left_alone_and_another_source_is_refused(source: Path, tmp_path: Path) -> None:
    write_pack([source], tmp_path / "pack", Moves(), keep=KEEP, games=10)
    before = files(tmp_path / "pack")
    pack, report = write_pack([source], tmp_path / "pack", Moves(), keep=KEEP, games=10)
    assert files(tmp_path / "pack") == before
    assert len(pack) == report.kept == 10
    longer = Filter(initial=True, min_plies=5)
    others: list[tuple[Vocabulary, Filter, int]] = [
        (Characters(), KEEP, 10),
        (Moves(), KEEP, 11),
        (Moves(), longer, 10),
    ]
    for kind, keep, games in others:
        with pytest.raises(DataError, match="holds a pack with"):
            write_pack([source], tmp_path / "pack", kind, keep=keep, games=games)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").touch()
    with pytest.raises(DataError, match="is no pack"):
        write_pack([source], tmp_path / "other", Moves(), keep=KEEP)


def test_a_file_that_cannot_be_read_at_all_stops_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        write_pack([source, tmp_path / "missing.pgn"], tmp_path / "pack", Moves(), keep=KEEP)
    assert not (tmp_path / "pack").exists()


def test_games_from_other_positions_are_left_out_and_said(source: Path, tmp_path: Path) -> None:
    other = '[FEN "4k3/8/8/8/8/8/4P3/4K3 w - - 0 1"]\n\n1. e4 *\n\n'
    source.write_text(pgn_of(GAMES[0]) + other + pgn_of(GAMES[1]))
    pack, report = write_pack([source], tmp_path / "pack", Moves(), keep=KEEP)
    assert stream(pack) == written(Moves(), GAMES[:2])
    assert report.dropped == Counter({"from another position": 1})


def test_games_from_one_position_are_packed_by_its_name(tmp_path: Path) -> None:
    start = "4k3/8/8/8/8/8/4P3/4K3 w - - 0 1"
    games = tmp_path / "games.pgn"
    games.write_text(f'[FEN "{start}"]\n[Result "*"]\n\n1. e4 Kd7 *\n\n[Result "*"]\n\n1. e4 e5 *\n')
    with pytest.raises(ConfigError, match="name it with --start"):
        PackOptions((games,), tmp_path / "none", keep=Filter())
    options = PackOptions((games,), tmp_path / "pack", keep=Filter(initial=True, start=start))
    pack, report = write_pack(options.files, options.out, options.vocabulary, keep=options.keep)
    assert [pack.game(0).moves, len(pack), report.kept] == [("e2e4", "e8d7"), 1, 1]


@pytest.mark.parametrize("part", ["tokens", "offsets", "keys", "pack.json"])
def test_a_damaged_pack_is_said(source: Path, tmp_path: Path, part: str) -> None:
    write_pack([source], tmp_path / "pack", Moves(), keep=KEEP)
    index = tmp_path / "pack" / "pack.json"
    whole = index.read_text()
    index.write_text('{"format": 1, "vocabulary": "moves"}')
    with pytest.raises(DataError, match="it has no complete, options, report, shards"):
        open_pack(tmp_path / "pack")
    index.write_text(whole.replace('"strength"', '"strenght"'))
    with pytest.raises(DataError, match="cannot be read"):
        open_pack(tmp_path / "pack")
    index.write_text(whole)
    path = tmp_path / "pack" / (part if part == "pack.json" else f"00000.{part}.npy")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"damaged|cannot be read"):
        open_pack(tmp_path / "pack")
    path.write_bytes(path.read_bytes().replace(b")", b"#", 1) if part != "pack.json" else b"\xff")
    with pytest.raises(DataError, match=r"damaged|cannot be read"):
        open_pack(tmp_path / "pack")
    path.unlink()
    with pytest.raises(DataError, match=r"damaged|no pack"):
        open_pack(tmp_path / "pack")


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("offsets", lambda old: old[::-1]),
        ("offsets", lambda old: np.where(np.arange(len(old)) == 2, 10**6, old)),
        ("offsets", lambda old: old.astype(np.int32)),
        ("tokens", lambda old: old.astype(np.int64)),
        ("keys", lambda old: old.T),
    ],
)
def test_a_pack_of_other_numbers_is_said_whoever_opens_it(
    source: Path, tmp_path: Path, part: str, wrong: Callable[[NDArray[np.int64]], NDArray[np.int64]]
) -> None:
    write_pack([source], tmp_path / "pack", Moves(), keep=KEEP)
    path = tmp_path / "pack" / f"00000.{part}.npy"
    np.save(path, wrong(np.load(path)))
    with pytest.raises(DataError, match="damaged"):
        open_pack(tmp_path / "pack")
    with pytest.raises(DataError, match="damaged"):
        write_pack([source], tmp_path / "pack", Moves(), keep=KEEP)


def test_tokens_are_mapped_and_not_loaded(source: Path, tmp_path: Path) -> None:
    pack, _ = write_pack([source], tmp_path / "pack", Moves(), keep=KEEP, shard_tokens=500)
    assert all(isinstance(shard, np.memmap) and shard.dtype == np.uint16 for shard in pack.shards)
    at = np.arange(int(pack.firsts[-1])).reshape(-1, 1)[::-3]
    assert pack.take(at).ravel().tolist() == stream(pack)[::-3]


# Blocks

FIELDS = ("tokens", "targets", "mask", "document", "position")
MODES: list[Boundaries] = ["games", "stream"]


def pairs(pack: Pack, blocks: Blocks) -> Counter[tuple[int, ...]]:
    """What must be learned once an epoch: (token, next token), conditions apart."""
    found: Counter[tuple[int, ...]] = Counter()
    given = pack.vocabulary.given
    whole: list[int] = []
    for number in blocks.games.tolist():
        tokens = pack.take(np.arange(pack.starts[number], pack.starts[number + 1])).tolist()
        found.update(zip(tokens[given - 1 :], tokens[given:], strict=False))
        whole += [tokens[-1]]
    if blocks.boundaries == "stream":
        found.update((end, pack.vocabulary.start) for end in whole)
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [5, 16, 300])
@pytest.mark.parametrize("kind", [Moves(), Moves(strength=True), Characters(results=False)], ids=repr)
def test_every_token_is_learned_exactly_once_an_epoch(
    source: Path, tmp_path: Path, mode: Boundaries, length: int, kind: Vocabulary
) -> None:
    pack, _ = write_pack([source], tmp_path / "pack", kind, keep=KEEP, games=15, shard_tokens=500)
    blocks = Blocks(pack, length, mode, "all", seed=3)
    wanted = pairs(pack, blocks)
    assert wanted.total() == blocks.targets
    rows = blocks.rows
    once = sum((targets_of(blocks, step) for step in range(rows)), Counter[tuple[int, int]]())
    assert once == wanted
    again = sum((targets_of(blocks, step) for step in range(rows, 2 * rows)), Counter[tuple[int, int]]())
    assert again == wanted


def targets_of(blocks: Blocks, step: int) -> Counter[tuple[int, int]]:
    block = blocks.block(step, 1)
    return Counter(zip(block.tokens[block.mask].tolist(), block.targets[block.mask].tolist(), strict=True))


def test_rows_of_games_keep_each_game_apart_and_whole(source: Path, tmp_path: Path) -> None:
    pack, _ = write_pack([source], tmp_path / "pack", Moves(strength=True), keep=KEEP)
    blocks = Blocks(pack, 100, "games", "all")
    games = Counter(
        tuple(pack.take(np.arange(a, b)).tolist()) for a, b in zip(pack.starts, pack.starts[1:], strict=False)
    )
    found: Counter[tuple[int, ...]] = Counter()
    for step in range(-(-blocks.rows // 4)):
        block = blocks.block(step, 4)
        for row in range(4):
            if step * 4 + row >= blocks.rows:
                continue
            for number in range(block.document[row].max() + 1):
                here = block.document[row] == number
                assert block.position[row][here].tolist() == list(range(int(here.sum())))
                assert block.mask[row][here].tolist() == [place >= 2 for place in range(int(here.sum()))]
                inputs, outputs = block.tokens[row][here].tolist(), block.targets[row][here].tolist()
                assert inputs[1:] == outputs[:-1]
                found[*inputs, outputs[-1]] += 1
            filling = block.document[row] == -1
            assert not block.mask[row][filling].any()
            assert set(block.tokens[row][filling].tolist()) <= {pack.vocabulary.pad}
    assert found == games


def test_a_long_game_goes_on_behind_its_own_past(source: Path, tmp_path: Path) -> None:
    pack, _ = write_pack([source], tmp_path / "pack", Moves(), keep=KEEP)
    number = int(np.argmax(np.diff(pack.starts)))
    tokens = pack.take(np.arange(pack.starts[number], pack.starts[number + 1])).tolist()
    blocks = Blocks(pack, 20, "games", "all")
    text, learned = " ".join(map(str, tokens)), 0
    for step in range(blocks.rows):
        block = blocks.block(step, 1)
        for one in range(block.document[0].max() + 1):
            here = block.document[0] == one
            row = " ".join(map(str, [*block.tokens[0][here].tolist(), int(block.targets[0][here][-1])]))
            if f" {row} " in f" {text} " and here.sum() > 8:
                learned += int(block.mask[0][here].sum())
                if int(block.tokens[0][here][0]) != pack.vocabulary.start:
                    assert not block.mask[0][here][:10].any()
                    assert block.mask[0][here][10:].all()
    assert learned >= len(tokens) - 1 - 8


def test_streams_cross_games_and_their_cuts_move(source: Path, tmp_path: Path) -> None:
    pack, _ = write_pack([source], tmp_path / "pack", Moves(), keep=KEEP)
    blocks = Blocks(pack, 64, "stream", "all")
    ring, rows = stream(pack) * 2, blocks.rows
    firsts = []
    for epoch in range(2):
        for step in range(rows):
            block = blocks.block(epoch * rows + step, 1)
            size = int((block.document[0] >= 0).sum())
            row = [*block.tokens[0][:size].tolist(), int(block.targets[0][size - 1])]
            place = next(at for at in range(len(ring) // 2) if ring[at : at + size + 1] == row)
            firsts.append((epoch, place))
            starts = np.cumsum(block.tokens[0] == pack.vocabulary.start)[:size]
            assert (block.document[0][:size] == starts - starts[0]).all()
    assert {place for epoch, place in firsts if epoch == 0} != {place for epoch, place in firsts if epoch == 1}


@pytest.mark.parametrize("mode", MODES)
def test_a_block_depends_on_seed_and_step_alone(source: Path, tmp_path: Path, mode: Boundaries) -> None:
    pack, _ = write_pack([source], tmp_path / "pack", Moves(), keep=KEEP, shard_tokens=700)
    one, other = Blocks(pack, 50, mode, seed=1), Blocks(open_pack(pack.folder), 50, mode, seed=1)
    for step in (7, 0, 3, 7, 1000):  # in any order, without what came before
        first, second = one.block(step, 8), other.block(step, 8)
        assert all(np.array_equal(getattr(first, name), getattr(second, name)) for name in FIELDS)
    assert not np.array_equal(one.block(0, 8).tokens, Blocks(pack, 50, mode, seed=2).block(0, 8).tokens)
    big = one.block(0, 3 * one.rows)  # more rows than an epoch has
    assert big.mask.sum() == 3 * one.targets


def test_splits_share_no_game_and_lose_none(source: Path, tmp_path: Path) -> None:
    same = [Game(game.moves, game.result, 1500, 1500) for game in GAMES]  # the same moves by other players
    source.write_text("".join(map(pgn_of, [*GAMES, *same])))
    pack, _ = write_pack([source], tmp_path / "pack", Moves(), keep=KEEP)
    train, valid = (Blocks(pack, 64, "games", split, valid_share=0.3) for split in ("train", "valid"))
    sides = [{pack.game(int(number)).moves for number in blocks.games} for blocks in (train, valid)]
    assert len(train.games) + len(valid.games) == len(pack) == 120
    assert sides[0].isdisjoint(sides[1])
    assert 15 < len(valid.games) < 60


def test_blocks_that_make_no_sense_are_refused(source: Path, tmp_path: Path) -> None:
    pack, _ = write_pack([source], tmp_path / "pack", Moves(), keep=KEEP, games=0)
    assert len(pack) == 0
    with pytest.raises(DataError, match="no game of the split"):
        Blocks(pack, 64)
    with pytest.raises(ConfigError, match="length of at least 3"):
        Blocks(pack, 2)


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(40, 50))
@settings(max_examples=150)
def test_best_fit_places_everything_once_and_wastes_little(sizes: list[int], room: int) -> None:
    rows = best_fit(sizes, room)
    assert sorted(index for row in rows for index in row) == list(range(len(sizes)))
    filled = [sum(sizes[index] for index in row) for row in rows]
    assert all(0 < size <= room for size in filled)
    assert sum(2 * size <= room for size in filled) <= 1  # two such rows would have been one


def test_the_command_packs_and_reports(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from surpass import cli

    out = tmp_path / "pack"
    assert cli.main(["chess", "pack", str(source), "--out", str(out), "--max-rating", "1030"]) == 0
    said = capsys.readouterr().out
    assert "rating unknown" in said
    assert "15 games" in said
    assert "vocabulary of 2004" in said
    assert cli.main(["chess", "pack", str(tmp_path / "none.pgn"), "--out", str(tmp_path / "p2")]) == 2
    source.write_bytes(source.read_bytes()[:-700])
    assert cli.main(["chess", "pack", str(source), "--out", str(out), "--max-rating", "1030"]) == 2
    assert "holds a pack with files" in capsys.readouterr().err
    assert os.listdir(tmp_path).count("p2") == 0
