"""Pictures: what an agent sees as 88 x 88 pixels, and whole maps and rooms as PNG or GIF.

Every cell is drawn 8 x 8 pixels large from its code alone (`rules.py`), by a table of all 256 codes. Sprites and
colours are our own; agents differ in brightness as well as hue, and each sees itself in blue. Writing files needs
Pillow (extra `economy`). Not here: Melting Pot's sprites; a network trained on its pixels sees another world.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surpass.domains.economy.escape_room import RoomRules
from surpass.domains.economy.rules import AHEAD, ASIDE, LIGHT, MOST_AGENTS, VIEW, WHO
from surpass.errors import ConfigError, DataError

Pixels = NDArray[np.uint8]
TILE = 8
COLOURS = {
    ".": (0, 0, 0),
    "s": (226, 217, 193),
    "z": (216, 205, 178),
    "w": (92, 96, 104),
    "v": (126, 131, 140),
    "g": (146, 184, 94),
    "h": (132, 170, 82),
    "b": (173, 150, 116),
    "c": (160, 137, 104),
    "r": (204, 41, 41),
    "q": (243, 128, 112),
    "t": (84, 52, 38),
    "a": (64, 140, 196),
    "e": (92, 165, 214),
    "d": (92, 84, 38),
    "f": (124, 116, 52),
}
TERRAINS = (  # OUTSIDE, GROUND, WALL, APPLE, BARE, GRASS, RIVER, DIRT
    "........ ........ ........ ........ ........ ........ ........ ........",
    "ssssssss sszsssss ssssssss sssssszs ssssssss szssssss sssszsss ssssssss",
    "vvvvvvvw vwwwwwww vwwwwwww vwwwwwww vwwwwwww vwwwwwww vwwwwwww wwwwwwww",
    "gggggggg gggtgggg ggrtrrgg grqqrrrg grqrrrrg grrrrrrg ggrrrrgg gggggggg",
    "bbbbbbbb bbcbbbbb bbbbbbcb bbbbbbbb bcbbbbbb bbbbcbbb bbbbbbbb bbcbbbbb",
    "gggggggg ghgggggg gggggghg gggggggg gghggggg ggggghgg gggggggg hggggggg",
    "aaaaaaaa aaaeeaaa aeeaaeea aaaaaaaa aaaaaaaa eaaaeeaa aeeaaaee aaaaaaaa",
    "ddffdddd dffddfdd ffddddff ddddfddd dfddfffd ffffdddd dddddffd fdddffdd",
)
BODY = "...OO... ..OXXO.. .OXXXXO. OXEXXEXO OXXXXXXO OXXXXXXO .OXXXXO. .OO..OO."
SELF = (38, 84, 214)
PLAYERS = ((230, 150, 0), (248, 248, 248), (126, 47, 142), (0, 190, 196), (250, 226, 60), (255, 128, 196), (28, 28, 30))
EYE, EDGE = (255, 255, 255), (52, 52, 56)
BEAMS = {1: (255, 216, 40), 2: (150, 235, 255), 3: (255, 255, 255)}  # zap, clean, both
VEIL = 0.6  # how much of a cell a beam hides


def pixels(views: NDArray[np.uint8]) -> Pixels:
    """Return views [..., 11, 11] as pixels [..., 88, 88, 3], each agent blue in its own; black where it is out."""
    if views.shape[-2:] != (VIEW, VIEW):
        raise ConfigError(f"views: expected shape [..., {VIEW}, {VIEW}], found {views.shape}")
    tiles = _sprites()[views]  # [..., 11, 11, 8, 8, 3]
    tiles[..., AHEAD, ASIDE, :, :, :] = _sprites(own=True)[views[..., AHEAD, ASIDE]]
    return _joined(tiles)


def picture(board: NDArray[np.uint8], *, scale: int = 2) -> Pixels:
    """Return a board [..., height, width] of codes as pixels [..., 8 * scale * height, 8 * scale * width, 3]."""
    return _larger(_joined(_sprites()[board]), scale)


def room_picture(places: NDArray[np.int64], live: int, opened: bool, rules: RoomRules, *, scale: int = 3) -> Pixels:
    """Return a room of Escape Room: a row of places (the live lever gold, an open door green), agents below."""
    colours = [(150, 150, 156)] * rules.levers + [(46, 160, 67) if opened else (196, 60, 52), (92, 96, 104)]
    colours[live] = (255, 200, 30)
    tiles = np.full((1 + rules.agents, rules.states, TILE, TILE, 3), COLOURS["s"], np.uint8)
    tiles[0, :, 1:-1, 1:-1] = np.array(colours, np.uint8)[:, None, None]
    for agent, place in enumerate(places.tolist()):
        drawn, body = _body(PLAYERS[agent % len(PLAYERS)])
        tiles[1 + agent, place][body] = drawn[body]
    return _larger(_joined(tiles), scale)


def write_png(path: Path | str, frame: Pixels) -> None:
    """Write one picture [height, width, 3]. Raises DataError where the file cannot be written."""
    _write(path, [frame])


def write_gif(path: Path | str, frames: Sequence[Pixels], *, per_second: float = 10) -> None:
    """Write an animation of pictures of one size. Raises DataError for none, or where it cannot be written."""
    if not len(frames):
        raise DataError("frames: expected at least one picture, found none")
    if not 0 < per_second <= 100:
        raise ConfigError(f"per_second: expected a number above 0, at most 100, found {per_second}")
    _write(path, frames, format="GIF", save_all=True, duration=round(1000 / per_second), loop=0)


def _write(path: Path | str, frames: Sequence[Pixels], **options: object) -> None:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise ConfigError("pictures need Pillow; pip install 'surpass[economy]'") from error
    first, *others = [Image.fromarray(np.ascontiguousarray(frame, np.uint8)) for frame in frames]
    if options:
        options["append_images"] = others
    try:
        first.save(path, **({"format": "PNG"} | options))  # type: ignore[arg-type]
    except OSError as error:
        raise DataError(f"cannot write the picture {path}: {error}") from error


@lru_cache(maxsize=2)
def _sprites(own: bool = False) -> Pixels:
    """Return the pictures of all codes [256, 8, 8, 3]; with `own`, of the cell in which the viewer stands."""
    table = np.zeros((256, TILE, TILE, 3), np.uint8)
    grounds = [_drawn(rows) for rows in TERRAINS]
    for code in range(256):
        terrain, agent, light = code % WHO, code // WHO % (MOST_AGENTS + 1), code // LIGHT
        tile = grounds[terrain].astype(np.float64)
        if light and terrain:
            tile = (1 - VEIL) * tile + VEIL * np.array(BEAMS[light])
        if agent:
            drawn, body = _body(SELF if own else PLAYERS[agent - 1])
            tile[body] = drawn[body]
        table[code] = tile.round()
    return table


def _drawn(rows: str) -> Pixels:
    return np.array([[COLOURS[sign] for sign in row] for row in rows.split()], np.uint8)


def _body(colour: tuple[int, int, int]) -> tuple[Pixels, NDArray[np.bool_]]:
    """Return an agent's picture [8, 8, 3] and which of its pixels are not see-through."""
    paint = {".": (0, 0, 0), "O": EDGE, "X": colour, "E": EDGE if sum(colour) > 600 else EYE}
    signs = np.array([list(row) for row in BODY.split()])
    return np.array([[paint[sign] for sign in row] for row in signs.tolist()], np.uint8), signs != "."


def _joined(tiles: NDArray[np.uint8]) -> Pixels:
    """Join tiles [..., rows, columns, 8, 8, 3] to one picture [..., 8 * rows, 8 * columns, 3]."""
    *lead, rows, columns, _, _, _ = tiles.shape
    return np.moveaxis(tiles, -3, -4).reshape(*lead, rows * TILE, columns * TILE, 3)


def _larger(frame: Pixels, scale: int) -> Pixels:
    if scale < 1:
        raise ConfigError(f"scale: expected 1 or more, found {scale}")
    return frame.repeat(scale, axis=-3).repeat(scale, axis=-2)
