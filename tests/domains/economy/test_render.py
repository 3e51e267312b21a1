"""Pictures: shapes, colours that can be told apart, and files that open again."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from surpass.domains.economy.escape_room import RoomRules
from surpass.domains.economy.render import PLAYERS, SELF, picture, pixels, room_picture, write_gif, write_png
from surpass.domains.economy.rules import WHO, rules_of
from surpass.domains.economy.simulator import Commons
from surpass.errors import ConfigError, DataError


def test_views_become_88_pixels_and_each_sees_itself_in_blue() -> None:
    commons = Commons(rules_of("cleanup", "melting_pot"), range(3))
    seen = pixels(commons.now.views)
    assert seen.shape == (3, 7, 88, 88, 3)
    assert seen.dtype == np.uint8
    own = seen[:, :, 72:80, 40:48]
    assert (own == np.array(SELF)).all(-1).any((-1, -2)).all()
    others = seen.copy()
    others[:, :, 72:80, 40:48] = 0
    assert not (others == np.array(SELF)).all(-1).any()
    with pytest.raises(ConfigError, match="views"):
        pixels(np.zeros((3, 3), np.uint8))


def test_one_who_is_out_sees_black() -> None:
    assert not pixels(np.zeros((11, 11), np.uint8)).any()


def test_a_tile_stands_where_its_cell_does() -> None:
    board = np.full((3, 4), 1, np.uint8)
    plain = picture(board, scale=1)
    board[1, 2] += WHO * 3
    changed = (picture(board, scale=1) != plain).any(-1)
    assert changed[8:16, 16:24].any()
    changed[8:16, 16:24] = False
    assert not changed.any()
    assert picture(board, scale=3).shape == (72, 96, 3)


def test_every_code_is_drawn_and_all_that_matters_differs() -> None:
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16)
    tiles = picture(codes, scale=1).reshape(16, 8, 16, 8, 3).swapaxes(1, 2).reshape(256, -1).astype(int)
    inside = [code for code in range(256) if code % WHO]
    for first, second in combinations(inside, 2):
        assert (tiles[first] != tiles[second]).any(), (first, second)
    terrains = tiles[:WHO].reshape(WHO, 64, 3).mean(1)
    for first, second in combinations(range(WHO), 2):
        assert np.abs(terrains[first] - terrains[second]).max() > 20, "told apart by colour alone"


def test_players_differ_in_colour() -> None:
    for first, second in combinations((*PLAYERS, SELF), 2):
        assert np.abs(np.subtract(first, second)).sum() > 100, (first, second)


def test_files_open_again(tmp_path: Path) -> None:
    commons, frames = Commons(rules_of("harvest"), [0]), []
    for _ in range(3):
        frames.append(picture(commons.boards()[0]))
        commons.step(np.ones((1, 7), int))
    write_png(tmp_path / "map.png", frames[0])
    with Image.open(tmp_path / "map.png") as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), frames[0])
    write_gif(tmp_path / "play.gif", frames)
    with Image.open(tmp_path / "play.gif") as image:
        assert (image.n_frames, image.size) == (3, (24 * 16, 18 * 16))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="none"):
        write_gif(tmp_path / "none.gif", [])
    with pytest.raises(ConfigError, match="per_second: expected"):
        write_gif(tmp_path / "none.gif", frames, per_second=0)
    with pytest.raises(DataError, match="missing"):
        write_png(tmp_path / "missing" / "map.png", frames[0])


def test_a_room_shows_its_lever_and_its_door() -> None:
    rules, places = RoomRules(), np.array([0, 0, 3, 3, 4])
    shut, opened = (room_picture(places, 0, state, rules, scale=1) for state in (False, True))
    assert shut.shape == (48, 40, 3)
    assert (shut[:8, 24:32] != opened[:8, 24:32]).any()
    assert (room_picture(places, 1, True, rules, scale=1)[:8, :16] != opened[:8, :16]).any()
