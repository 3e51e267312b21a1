"""Blocks for training out of a pack: which tokens a model sees together, by seed and step alone.

Games share a row in one of two ways; in both, every token that is to be learned is a target exactly once an epoch.

    "games"    rows of whole games, by best fit; a game is a document of its own: positions begin at 0, and `document`
               says which tokens may attend to each other. The result is the last target; it is never an input. A game
               longer than a row goes on in a second one, behind half a row of its own past that is not learned again.
    "stream"   rows of the games laid end to end and cut anywhere, as nanoGPT and the paper do; a row may begin in the
               middle of a game. The cuts move with every epoch. The next start token is a target too: where results are
               not written, nothing else says that a game is over.

Legend: B rows, L columns (the model's context). Row tables take 16 bytes a piece of game, and are made once.
Not here: attention masks and tensors; a Block is NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from surpass.domains.chess.shards import Pack
from surpass.errors import ConfigError, DataError
from surpass.rollouts.seeds import derive_seed

Boundaries = Literal["games", "stream"]
Split = Literal["train", "valid", "all"]
Ints = NDArray[np.int64]
_AT_ONCE = 8192  # games among which the best fit is sought: neighbours stay near each other on disk


@dataclass(frozen=True, slots=True)
class Block:
    """Rows to train on, all [B, L]."""

    tokens: Ints  # inputs
    targets: Ints  # the token after each
    mask: NDArray[np.bool_]  # where the target is to be learned
    document: Ints  # number of the game within its row, -1 for filling
    position: Ints  # of the token in its document ("games") or in its row ("stream")


@dataclass(frozen=True)
class Blocks:
    """The rows of one split of a pack.

    Raises DataError for a pack without games in the split, ConfigError for a length that holds no move.
    """

    pack: Pack
    length: int  # L
    boundaries: Boundaries = "games"
    split: Split = "train"
    valid_share: float = 0.01  # of the games, by their moves: equal games are never on both sides
    seed: int = 0

    def __post_init__(self) -> None:
        if self.length < self.pack.vocabulary.given + 2:
            raise ConfigError(f"expected a length of at least {self.pack.vocabulary.given + 2}, found {self.length}")
        if not len(self.games):
            raise DataError(f"{self.pack.folder} holds no game of the split {self.split!r}; pack more games")

    @cached_property
    def games(self) -> Ints:
        """The numbers of the split's games, in order."""
        if self.split == "all":
            return np.arange(len(self.pack))
        valid = self.pack.keys % np.uint64(1_000_000) < np.uint64(round(1_000_000 * self.valid_share))
        return np.flatnonzero(valid if self.split == "valid" else ~valid)

    @cached_property
    def ends(self) -> Ints:
        """Where each of the split's games ends, counted in tokens of the split alone: [games + 1], from 0."""
        sizes = np.diff(self.pack.starts)[self.games]
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])

    @property
    def rows(self) -> int:
        """Return how many rows an epoch has."""
        return -(-int(self.ends[-1]) // self.length) if self.boundaries == "stream" else len(self._table[1]) - 1

    @property
    def targets(self) -> int:
        """Return how many tokens are learned in an epoch."""
        games, given = len(self.games), self.pack.vocabulary.given
        return int(self.ends[-1]) - games * (given - 1 if self.boundaries == "stream" else given)

    def block(self, step: int, rows: int) -> Block:
        """Return batch number `step` of an endless run of `rows` rows each: every epoch holds each row once."""
        epochs, places = np.divmod(np.arange(step * rows, (step + 1) * rows), self.rows)
        numbers = np.array([self._order(epoch)[place] for epoch, place in zip(epochs.tolist(), places, strict=True)])
        return self._streamed(numbers, epochs) if self.boundaries == "stream" else self._packed(numbers)

    def _order(self, epoch: int) -> Ints:
        """Return the rows of an epoch in the order in which they come."""
        if epoch not in self._orders:
            while len(self._orders) > 1:  # a batch spans two epochs at most, unless an epoch is smaller than a batch
                self._orders.pop(min(self._orders))
            self._orders[epoch] = np.random.default_rng(derive_seed(self.seed, "rows", epoch)).permutation(self.rows)
        return self._orders[epoch]

    @cached_property
    def _orders(self) -> dict[int, Ints]:
        return {}

    def _tokens(self, at: Ints) -> tuple[Ints, Ints]:
        """Return the tokens at some places of the split's tokens, and how deep in its game each of them lies."""
        game = np.searchsorted(self.ends, at, side="right") - 1
        deep = at - self.ends[game]
        return self.pack.take(self.pack.starts[self.games[game]] + deep).astype(np.int64), deep

    def _streamed(self, numbers: Ints, epochs: Ints) -> Block:
        """The split's tokens are a ring, so that the last one has a target; the last row of an epoch may be filled."""
        vocabulary, size = self.pack.vocabulary, int(self.ends[-1])
        phases = np.array([derive_seed(self.seed, "phase", epoch) % self.length for epoch in epochs.tolist()])
        columns = np.arange(self.length + 1)
        offsets = (numbers * self.length)[:, None] + columns
        tokens, deep = self._tokens((phases[:, None] + offsets) % size)
        real = offsets[:, :-1] < size
        game = np.cumsum(deep[:, :-1] == 0, axis=1)
        return Block(
            tokens=np.where(real, tokens[:, :-1], vocabulary.pad),
            targets=np.where(real, tokens[:, 1:], vocabulary.pad),
            mask=real & ((deep[:, 1:] == 0) | (deep[:, 1:] >= vocabulary.given)),
            document=np.where(real, game - game[:, :1], -1),
            position=np.where(real, columns[:-1], 0),
        )

    def _packed(self, numbers: Ints) -> Block:
        vocabulary, (pieces, bounds) = self.pack.vocabulary, self._table
        shares = bounds[numbers + 1] - bounds[numbers]  # pieces of each row
        first, count, past = pieces[_ranges(bounds[numbers], shares)].T
        before = np.cumsum(count) - count  # inputs in front of each piece, all rows counted together
        row_begins = before[np.cumsum(shares) - shares]
        row = np.repeat(np.repeat(np.arange(len(numbers)), shares), count)
        within = _ranges(np.zeros_like(count), count)
        column = np.repeat(before, count) + within - row_begins[row]
        at = np.repeat(first, count) + within
        shape = (len(numbers), self.length)
        block = Block(
            tokens=np.full(shape, vocabulary.pad),
            targets=np.full(shape, vocabulary.pad),
            mask=np.zeros(shape, dtype=np.bool_),
            document=np.full(shape, -1),
            position=np.zeros(shape, dtype=np.int64),
        )
        block.tokens[row, column] = self._tokens(at)[0]
        block.targets[row, column], deep = self._tokens(at + 1)
        block.mask[row, column] = (within >= np.repeat(past, count)) & (deep >= vocabulary.given)
        block.document[row, column] = np.repeat(_ranges(np.zeros_like(shares), shares), count)
        block.position[row, column] = within
        return block

    @cached_property
    def _table(self) -> tuple[Ints, Ints]:
        """Pieces of games [pieces, 3] (first token, inputs, how many of them are past), and each row's bounds in it."""
        pieces, bounds = list[tuple[int, int, int]](), [0]
        for low in range(0, len(self.games), _AT_ONCE):
            ends = self.ends[low : low + _AT_ONCE + 1].tolist()
            chunk = [piece for first, end in pairwise(ends) for piece in _pieces(first, end, self.length)]
            for row in best_fit([count for _, count, _ in chunk], self.length):
                pieces.extend(chunk[piece] for piece in row)
                bounds.append(len(pieces))
        return np.asarray(pieces, dtype=np.int64).reshape(-1, 3), np.asarray(bounds, dtype=np.int64)


def _pieces(first: int, end: int, length: int) -> list[tuple[int, int, int]]:
    """Return the windows of one game: each target once, those of a later window behind half a window of past."""
    inputs = end - 1 - first  # the last token is a target only
    found, done = [(first, min(inputs, length), 0)], min(inputs, length)
    while done < inputs:
        past = min(length // 2, done)
        count = min(length, past + inputs - done)
        found.append((first + done - past, count, past))
        done += count - past
    return found


def _ranges(begins: Ints, sizes: Ints) -> Ints:
    """Return begins[0], begins[0] + 1, ... (sizes[0] of them), begins[1], ... as one array."""
    ends = np.cumsum(sizes)
    return np.repeat(begins - (ends - sizes), sizes) + np.arange(ends[-1] if len(ends) else 0)


def best_fit(sizes: list[int], room: int) -> list[list[int]]:
    """Return indices of `sizes` in rows of at most `room`: the largest first, each where it leaves the least over.

    >>> best_fit([3, 5, 2, 6], 8)
    [[3, 2], [1, 0]]
    """
    rows: list[list[int]] = []
    open_rows: list[list[int]] = [[] for _ in range(room + 1)]  # by what is left in them
    some = 0  # bit k is set where open_rows[k] is not empty
    for index in sorted(range(len(sizes)), key=lambda one: (-sizes[one], one)):
        size = sizes[index]
        fitting = some >> size
        left = size + (fitting & -fitting).bit_length() - 1 if fitting else room
        if fitting:
            row = open_rows[left].pop()
            some &= ~(1 << left) if not open_rows[left] else -1
        else:
            row = len(rows)
            rows.append([])
        rows[row].append(index)
        open_rows[left - size].append(row)
        some |= 1 << (left - size)
    return rows
