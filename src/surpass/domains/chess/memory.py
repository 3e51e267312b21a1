"""What a network has read of many games, kept: a key-value cache with a slot for each, found by the tokens read so far.

Legend: S slots, C columns, H heads, D their width, B rows of a call, K new tokens of a row, W columns in use, V tokens.
    keys, values   [S, C, H, D]      column c of a slot is position c of its game

Slots in use are the first ones, without holes: a call that asks for all of them reads the cache in place, where picking
rows would copy it. So a slot that a call leaves out is given up at once and the last one takes its place, unless the
call asks for less than half of them (a few games that try again). Giving up costs time, never an answer. All is given
up when the weights change.

Not `models/prefix.py`: there prompts of a search share their beginnings, in blocks that every call must gather. Games
share nothing after the opening and each goes on, so that what stands in place already is read where it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from surpass.models.packing import additive

Tokens = tuple[int, ...]
BEHIND = 32  # new tokens of a row at most; a game that has gone further is read anew
FEW = 4  # new tokens of a game that goes on; those with more are read apart, for all rows are as long as the longest
ROWS = 256  # of one pass, at most


@dataclass(slots=True)
class _Where:
    """Which part of the cache the layers work on."""

    rows: slice | Tensor
    index: Tensor  # [B, 1], the slots
    columns: Tensor  # [B, K], where the new tokens go
    width: int


class Memory:
    """The games that one network is reading. `read` is all there is to it."""

    def __init__(self, network: PreTrainedModel) -> None:
        self._network = network
        self._weights = 0  # the version of the weights that all this was read with
        self._games: list[Tokens] = []  # by slot: the tokens read
        self._slot: dict[Tokens, int] = {}
        self._logits = torch.empty(0)  # [S, V], after the last token read
        self._where = _Where(slice(0, 0), *(torch.zeros((0, 1), dtype=torch.long),) * 2, 0)
        self._layers = [_Layer(self._where) for _ in range(network.config.num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))

    @torch.inference_mode()
    def read(self, prompts: Sequence[Tokens], *, all_of_them: bool = True) -> Tensor:
        """Return the logits [B, V] after each prompt, none of them empty, and remember what was read.

        `all_of_them` says that these are all games, up to a few that try again: what is left out may be given up.
        """
        if (version := sum(parameter._version for parameter in self._network.parameters())) != self._weights:
            self._weights = version
            self._games.clear()
            self._slot.clear()
        distinct = list(dict.fromkeys(prompts))
        # A slot follows one game: of two that part ways one is read anew.
        taken = {slot: prompt for prompt in distinct if (slot := self.find(prompt)) is not None}
        if all_of_them and 2 * len(taken) >= len(self._games):
            taken = self._give_up(taken)
        known = {prompt: slot for slot, prompt in taken.items()}
        fresh = [prompt for prompt in distinct if prompt not in known]
        for prompt in fresh:
            known[prompt] = len(self._games)
            self._games.append(())
        behind = {prompt: len(prompt) - len(self._games[slot]) for prompt, slot in known.items()}
        for group in (
            [prompt for prompt in known if 0 < behind[prompt] <= FEW],
            [prompt for prompt in known if behind[prompt] > FEW],
        ):
            group.sort(key=lambda prompt: known[prompt])
            for begin in range(0, len(group), ROWS):
                self._extend([(known[prompt], prompt) for prompt in group[begin : begin + ROWS]])
        return self._logits[torch.tensor([known[prompt] for prompt in prompts], device=self._logits.device)]

    def find(self, prompt: Tokens) -> int | None:
        """Return the slot of the game that a prompt goes on with, None where there is none."""
        for cut in range(len(prompt), max(0, len(prompt) - BEHIND), -1):
            slot = self._slot.get(prompt[:cut])
            if slot is not None:
                return slot
        return None

    def _give_up(self, taken: dict[int, Tokens]) -> dict[int, Tokens]:
        """Drop the slots that are not taken; return the taken ones where they are now."""
        left = dict(taken)
        for slot in range(len(self._games) - 1, -1, -1):
            if slot in left:
                continue
            last = len(self._games) - 1
            self._slot.pop(self._games[slot], None)
            if slot != last:
                self._games[slot] = self._games[last]
                self._slot[self._games[slot]] = slot
                self._logits[slot] = self._logits[last]
                for layer in self._layers:
                    layer.move(last, slot)
                left[slot] = left.pop(last)
            self._games.pop()
        return left

    def _extend(self, group: Sequence[tuple[int, Tokens]]) -> None:
        """Read what is new of some games, in ascending order of slots."""
        device = self._network.device
        slots = [slot for slot, _ in group]
        news = [prompt[len(self._games[slot]) :] for slot, prompt in group]
        longest = max(map(len, news))
        ids = torch.zeros((len(group), longest), dtype=torch.long)
        for row, new in enumerate(news):
            ids[row, : len(new)] = torch.tensor(new)
        starts = torch.tensor([len(self._games[slot]) for slot in slots])
        # What stands behind a row's last token is overwritten before it is ever seen.
        columns = (starts[:, None] + torch.arange(longest)).to(device)
        where, index = self._where, torch.tensor(slots, device=device)
        where.rows = slice(slots[0], slots[-1] + 1) if slots[-1] - slots[0] + 1 == len(slots) else index
        where.index, where.columns, where.width = index[:, None], columns, int(columns.max()) + 1
        for layer in self._layers:
            layer.grow(len(self._games), where.width)
        visible = torch.arange(where.width, device=device) <= columns[:, :, None]
        even = all(len(new) == longest for new in news)
        logits = self._network(
            input_ids=ids.to(device),
            attention_mask=additive(visible, self._network.dtype),
            position_ids=columns,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1 if even else 0,
        ).logits
        lasts = torch.tensor([0 if even else len(new) - 1 for new in news], device=device)
        self._remember(group, logits[torch.arange(len(group), device=device), lasts].float())

    def _remember(self, group: Sequence[tuple[int, Tokens]], logits: Tensor) -> None:
        if len(self._logits) < len(self._games):
            wider = logits.new_empty((2 * len(self._games), logits.shape[1]))
            wider[: len(self._logits)] = self._logits.reshape(-1, logits.shape[1])
            self._logits = wider
        self._logits[[slot for slot, _ in group]] = logits
        for slot, prompt in group:
            if self._slot.get(self._games[slot]) == slot:
                del self._slot[self._games[slot]]
            self._games[slot] = prompt
            self._slot[prompt] = slot


class _Layer(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer's keys and values of all slots; an update writes the new columns and shows the rows asked for."""

    def __init__(self, where: _Where) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.where, self.held, self.least = where, list[Tensor](), (0, 0)

    def grow(self, slots: int, columns: int) -> None:
        """Make room for so many slots and columns."""
        self.least = (slots, columns)
        if self.held and (self.held[0].shape[0] < slots or self.held[0].shape[1] < columns):
            self.held = [self._wider(old) for old in self.held]

    def move(self, source: int, target: int) -> None:
        """Put one slot in the place of another."""
        for held in self.held:
            held[target] = held[source]

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        where, states = self.where, (key_states, value_states)
        if not self.held:
            self.held = [self._wider(new.new_empty(0, 0, new.shape[1], new.shape[3])) for new in states]
        for held, new in zip(self.held, states, strict=True):
            held[where.index, where.columns] = new.transpose(1, 2)
        keys, values = (held[where.rows, : where.width].transpose(1, 2) for held in self.held)
        self.keys, self.values, self.is_initialized = keys, values, True
        return keys, values

    def _wider(self, old: Tensor) -> Tensor:
        slots, columns = (
            size if size >= least else least + least // 2 for size, least in zip(old.shape[:2], self.least, strict=True)
        )
        wide = old.new_zeros(slots, columns, *old.shape[2:])  # zeros: what is masked must still be a number
        wide[: old.shape[0], : old.shape[1]] = old
        return wide
