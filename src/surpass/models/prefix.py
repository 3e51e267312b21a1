"""Keys and values of prompts that were read before, so that only what is new in a prompt is computed.

Prompts of a search repeat themselves: a state's text begins with its problem and the actions so far. A prompt is cut
into blocks of `BLOCK` tokens; a block is known by its tokens and the block before it, so equal beginnings are found
whatever follows, and are stored once. All blocks lie in one pool of fixed size; the one used longest ago gives way.
Positions are absolute and part of the keys, hence prefixes only, never infixes. The scheme is that of paged attention
with hashed blocks (vLLM, arXiv 2309.06180).

    pool [slots, L, 2, H, BLOCK, d]        L layers, keys and values, H heads of size d

A cached block belongs to the weights that made it: the cache empties itself when they, their device or the precision
change. A change through `tensor.data` goes unnoticed, as it does for autograd; call `clear` then.
Not here: running the network (`decode.py`). Encoder-decoders read a prompt in both directions and have no prefixes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import count

import torch
from torch import Tensor
from transformers import PreTrainedModel

from surpass.errors import ConfigError
from surpass.models.packing import NOBODY, PROMPT, Tokens

BLOCK = 4  # tokens; at most so many of a known prompt are computed again
PASS = 64  # tokens that take as long as what a pass through a small network costs on top of its tokens

Key = tuple[int, Tokens]  # the block before (0: none) and the tokens of this one


class PrefixCache:
    """Blocks of prompts in a pool of at most `megabytes`."""

    def __init__(self, megabytes: float = 256.0) -> None:
        if not megabytes > 0:
            raise ConfigError(f"A prefix cache needs room: expected megabytes > 0, found {megabytes}.")
        self.megabytes = megabytes
        self.tokens = 0  # of all prompts asked for
        self.reused = 0  # of those, found here
        self.clear()

    def clear(self) -> None:
        """Forget all blocks; the counters stay."""
        self._pool: Tensor | None = None
        self._slots: OrderedDict[Key, tuple[int, int]] = OrderedDict()  # -> slot, block number; used last comes last
        self._numbers = count(1)
        self._weights: object = None

    def __len__(self) -> int:
        return len(self._slots)

    def attend(self, network: PreTrainedModel) -> None:
        """Empty the cache unless its blocks were made by this network with these weights."""
        kind = network.device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        versions = sum(parameter._version for parameter in network.parameters())
        weights = (id(network), network.device, network.dtype, autocast, versions)
        if weights != self._weights:
            self.clear()
            self._weights = weights

    def holds(self, prompts: Sequence[Tokens]) -> bool:
        """Tell whether all blocks of these prompts fit in together; if not, storing them would only displace others."""
        return self._pool is None or sum(map(blocks, set(prompts))) <= len(self._pool)

    def find(self, prompt: Tokens) -> list[int]:
        """Return the slots of the known blocks that a prompt begins with; its last token is never among them."""
        keys, slots, before = list[Key](), list[int](), 0
        for index in range(blocks(prompt)):
            key = (before, prompt[index * BLOCK : (index + 1) * BLOCK])
            if key not in self._slots:
                break
            slot, before = self._slots[key]
            keys.append(key)
            slots.append(slot)
        for key in reversed(keys):  # a block outlives those that follow it
            self._slots.move_to_end(key)
        return slots

    def columns(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return what `load` wants for these slots [B, n], and the owner [B, n * BLOCK] of each column."""
        width = max(map(len, rows))
        index = torch.tensor([(*row, *(0,) * (width - len(row))) for row in rows])
        known = torch.arange(width * BLOCK) < torch.tensor([len(row) * BLOCK for row in rows])[:, None]
        return index, torch.where(known, PROMPT, NOBODY)

    def load(self, layer: int, index: Tensor) -> Tensor:
        """Return keys and values of a layer [2, B, H, n * BLOCK, d] for slots [B, n]."""
        assert self._pool is not None
        slots, layers, _, heads, _, size = self._pool.shape
        rows, width = index.shape
        # Blocks of one head lie in one piece: they are copied whole, into the order that attention wants.
        first = (index.to(self._pool.device)[:, None] * layers + layer) * 2 * heads
        head = torch.arange(2 * heads, device=first.device).view(2, 1, heads, 1)
        pieces = self._pool.view(slots * layers * 2 * heads, BLOCK * size)
        return pieces.index_select(0, (first + head).flatten()).view(2, rows, heads, width * BLOCK, size)

    def keep(self, prompts: Sequence[Tokens], begins: Sequence[int], layers: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Store the blocks of each prompt from token `begin` on.

        `layers` are keys and values [B, H, columns, d], whose last column is the last token of the last whole block.
        """
        if self._pool is None:
            states = layers[0][0]
            _, heads, _, size = states.shape
            slots = int(self.megabytes * 2**20) // (len(layers) * 2 * heads * BLOCK * size * states.element_size())
            self._pool = states.new_empty(max(1, slots), len(layers), 2, heads, BLOCK, size)
        kept = dict[int, tuple[int, int]]()  # slot -> row and column; the last one counts, where the pool is small
        for row, (prompt, begin) in enumerate(zip(prompts, begins, strict=True)):
            before, end = 0, blocks(prompt) * BLOCK
            for at in range(0, end, BLOCK):
                key = (before, prompt[at : at + BLOCK])
                if key not in self._slots:
                    if at < begin:
                        break  # it gave way in the meantime
                    slot = len(self._slots)
                    if slot == len(self._pool):
                        _, (slot, _) = self._slots.popitem(last=False)
                    kept[slot] = row, at - end
                    self._slots[key] = slot, next(self._numbers)
                before = self._slots[key][1]
        if kept:
            into, rows, columns = torch.tensor([(slot, *place) for slot, place in kept.items()]).T.to(self._pool.device)
            for number, both in enumerate(layers):
                for kind, states in enumerate(both):
                    cut = states.unfold(2, BLOCK, 1).permute(0, 2, 1, 4, 3)  # a block at every column, not copied
                    self._pool[into, number, kind] = cut[rows, states.shape[2] + columns]


def blocks(prompt: Tokens) -> int:
    """Return the number of whole blocks before the last token of a prompt, whose logits are always computed."""
    return (len(prompt) - 1) // BLOCK


def groups(lengths: Sequence[int]) -> list[list[int]]:
    """Return the indices of all lengths above 0 in groups that cost least, each padded to its longest.

    A group costs rows x longest tokens, and `PASS` for the pass through the network.

    >>> groups([8, 0, 640, 480, 16, 8])
    [[2], [3], [4, 0, 5]]
    """
    order = sorted((index for index in range(len(lengths)) if lengths[index]), key=lambda index: -lengths[index])
    best: list[tuple[int, int]] = [(0, 0)]  # for the first n of the order: their cost, and where the last group begins
    for end in range(1, len(order) + 1):
        costs = ((best[begin][0] + (end - begin) * lengths[order[begin]] + PASS, begin) for begin in range(end))
        best.append(min(costs))
    found, end = list[list[int]](), len(order)
    while end:
        begin = best[end][1]
        found.append(order[begin:end])
        end = begin
    return found[::-1]
