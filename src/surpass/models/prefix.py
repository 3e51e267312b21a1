"""Keys and values of prompts that were read before, so that only what is new in a prompt is computed.

Prompts of a search repeat themselves: a state's text begins with its problem and the actions so far. A prompt is cut
into blocks of `BLOCK` tokens; a block is known by its tokens and the block before it, so equal beginnings are found
whatever follows, and are stored once. All blocks lie in one pool of fixed size; the one used longest ago gives way.
Positions are absolute and part of the keys, hence prefixes only, never infixes. The scheme is that of paged attention
with hashed blocks (vLLM, arXiv 2309.06180); here blocks are copied into the rows that go on from them (`ragged.py`).

    pool  of each layer, keys and values [slots * BLOCK, H, d]        H heads of size d

A cached block belongs to the weights that made it: the cache empties itself when they, their device or the precision
change. A change through `tensor.data`, or by a fused optimiser of another loop than `train`, is not counted by torch
and goes unnoticed; call `clear` then.
Not here: running the network (`decode.py`). Encoder-decoders read a prompt in both directions and have no prefixes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

import torch
from torch import Tensor
from transformers import PreTrainedModel

from surpass.errors import ConfigError
from surpass.models.packing import Tokens
from surpass.models.ragged import BLOCK, Rows

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
        self._pool: list[list[Tensor]] = []  # keys and values of each layer; nothing before the first come
        self._room = 0  # slots
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

    def load(self, rows: Rows, found: Mapping[int, Sequence[int]]) -> None:
        """Let rows, by number, hold the blocks in these slots and nothing else."""
        for row, slots in found.items():
            rows.filled[row] = len(slots) * BLOCK
        places = [(slot, row, at) for row, slots in found.items() for at, slot in enumerate(slots)]
        if not places:
            return
        slot, row, at = torch.tensor(places).T
        for layer, pool in zip(rows.layers, self._pool, strict=True):
            if not layer.rooms:
                layer.open(pool)
            for room, states in zip(layer.rooms, pool, strict=True):
                into = (row * (rows.columns // BLOCK) + at).to(room.device)
                _pieces(room).index_copy_(0, into, _pieces(states).index_select(0, slot.to(room.device)))

    def keep(self, rows: Rows, prompts: Mapping[int, Tokens]) -> None:
        """Store the blocks of the prompts that rows, by number, hold; nothing if all of them would not fit in."""
        try:
            self._keep(rows, prompts)
        except BaseException:
            self.clear()  # slots may have been given to blocks that were not copied
            raise

    def _keep(self, rows: Rows, prompts: Mapping[int, Tokens]) -> None:
        if not self._pool:
            size = sum(room[0, :BLOCK].nbytes for layer in rows.layers for room in layer.rooms)
            self._room = max(1, int(self.megabytes * 2**20) // size)
            self._pool = [
                [room.new_empty(self._room * BLOCK, *room.shape[2:]) for room in layer.rooms] for layer in rows.layers
            ]
        elif sum(map(blocks, set(prompts.values()))) > self._room:
            return  # they would only displace others
        kept = dict[int, tuple[int, int]]()  # slot -> row and block; the last one counts, where the pool is small
        for row, prompt in prompts.items():
            before = 0
            for at in range(blocks(prompt)):
                key = (before, prompt[at * BLOCK : (at + 1) * BLOCK])
                if key not in self._slots:
                    slot = len(self._slots)
                    if slot == self._room:
                        _, (slot, _) = self._slots.popitem(last=False)
                    kept[slot] = row, at
                    self._slots[key] = slot, next(self._numbers)
                before = self._slots[key][1]
        if not kept:
            return
        slots, (numbers, ats) = torch.tensor(list(kept)), torch.tensor(list(kept.values())).T
        for layer, pool in zip(rows.layers, self._pool, strict=True):
            for room, states in zip(layer.rooms, pool, strict=True):
                taken = (numbers * (rows.columns // BLOCK) + ats).to(room.device)
                _pieces(states).index_copy_(0, slots.to(room.device), _pieces(room).index_select(0, taken))


def _pieces(states: Tensor) -> Tensor:
    """Return states [..., H, d] of some columns, block by block."""
    return states.view(-1, BLOCK * states.shape[-2] * states.shape[-1])


def blocks(prompt: Tokens) -> int:
    """Return the number of whole blocks before the last token of a prompt, whose logits are always computed."""
    return (len(prompt) - 1) // BLOCK


def waiting(prompts: Sequence[Tokens], known: Iterable[int]) -> list[int]:
    """Return the indices of prompts that should wait, because another one will have brought blocks that they lack.

    `known` are the blocks that are known of each. Nobody waits where it saves less than another pass costs.

    >>> long = tuple(range(80))
    >>> waiting([(*long, 1), (7, 8, 9), (*long, 2), (*long, 3)], [0, 0, 0, 0])
    [2, 3]
    """
    first, late, saved = dict[Tokens, int](), list[int](), 0
    for index, (prompt, have) in enumerate(zip(prompts, known, strict=True)):
        if have == blocks(prompt):
            continue
        lead = first.setdefault(prompt[: (have + 1) * BLOCK], index)
        if lead != index:
            late.append(index)
            both = range(have + 1, min(blocks(prompt), blocks(prompts[lead])) + 1)
            saved += BLOCK * sum(prompt[: at * BLOCK] == prompts[lead][: at * BLOCK] for at in both)
    return late if saved > PASS else []
