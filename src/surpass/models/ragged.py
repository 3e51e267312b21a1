"""Rows of unequal length, read by a causal network side by side and without padding.

Nearly all work of a network is done token by token; rows are told apart in attention alone. So the new tokens of all
rows go through it as one long row, each at its own position, and only attention takes them apart: what is new in a row
asks what the row holds, under a mask. Rows of like size ask together, padded to the longest of them.

    a row holds    h h h h h n n n          in columns of its own, from 0 on: h from before, n now
                   h h n
                   h h h h n n
    the network    n n n n n n              [1, T]: embeddings, projections, norms, feed-forwards
    attention      n n n    . n             [rows, H, Q, d]: one call for each `Span`
                            n n

This needs a network on one device that computes attention by `sdpa`, through the interface of transformers; any other
gets the tokens of several rows padded, [B, Q], and the answers are the same. Which columns a token sees, and which
tokens come next, is said by `decode.py`; that a network heeds it is tried by `probe.py`.

Legend: B rows, T new tokens, Q most new tokens of a row, K columns, H heads of size d, W wanted tokens, V vocabulary.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface, Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from surpass.models.packing import layer_masks

BLOCK = 4  # columns; a row has room for whole blocks, which a prefix cache copies
ROOM = 32  # columns a row grows by, at least; copying all keys and values at every token would cost more than attention
CALL = 2048  # pairs of a query and a column that take as long as what a call of attention costs on top of them
ATTENTION = "surpass_ragged"  # the name under which transformers finds `_attend`

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring rows whose queries are padded alike."""

    rows: slice
    tokens: slice  # their new tokens
    queries: int  # the most new tokens of one of them
    columns: int  # the most columns of one of them
    places: Tensor | None  # of the tokens among the queries [rows * Q]; None: nothing is padded


@dataclass(frozen=True, slots=True)
class Places:
    """Where new tokens go, sorted by row. Queries end in the last of Q places, as left padding has it."""

    row: Ints  # [T]
    slot: Ints  # [T], its place among the queries of its row
    column: Ints  # [T], where its row keeps it
    counts: Ints  # [B] new tokens of each row
    queries: int  # Q
    columns: int  # in use afterwards


class Rows:
    """What a network has read: the keys and values of each row.

    During a pass its config names the attention of this module: no two threads may run one network at once.
    """

    def __init__(self, network: PreTrainedModel, count: int, columns: int, *, pad: int) -> None:
        self.network, self.pad, self.config = network, pad, network.config.get_text_config()
        together = len({weight.device for weight in network.parameters()}) == 1  # else wanted ones lie elsewhere
        sdpa = network._supports_attention_backend and self.config._attn_implementation == "sdpa"
        self.interface = sdpa and together
        self.filled: Ints = np.zeros(count, dtype=np.int64)  # columns of each row in use
        self.columns = _blocks(columns) * BLOCK
        self.positions = torch.arange(self.columns, device=network.device).repeat(count, 1)  # of each column
        self.layers = [_Layer(self) for _ in range(self.config.num_hidden_layers)]
        self.into = self.taken = torch.zeros(0, dtype=torch.long)  # for the layers, during a pass
        self.used = 0

    def __len__(self) -> int:
        return len(self.filled)

    @property
    def padded(self) -> bool:
        """Whether new tokens go through the network padded; one row needs neither that nor spans."""
        return len(self) > 1 and not self.interface

    def place(self, row: Ints) -> Places:
        """Return where the next tokens of these rows [T], sorted, go; there is room for them afterwards."""
        counts = np.bincount(row, minlength=len(self))
        offset = np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
        column = self.filled[row] + offset
        used = int((self.filled + counts).max())
        if used > self.columns:
            self._resize(None, used + max(ROOM, used // 2))
        queries = int(counts.max())
        return Places(row, queries - counts[row] + offset, column, counts, queries, used)

    def select(self, rows: Ints) -> None:
        """Keep these rows alone."""
        self.filled = self.filled[rows]
        self._resize(torch.from_numpy(rows), int(self.filled.max()) + ROOM)

    def _resize(self, rows: Tensor | None, columns: int) -> None:
        used, self.columns = int(self.filled.max()), _blocks(columns) * BLOCK
        for layer in self.layers:
            layer.rooms = [_resized(room, rows, used, self.columns) for room in layer.rooms]
        self.positions = _resized(self.positions, rows, used, self.columns)

    @contextmanager
    def _passing(self, places: Places) -> Iterator[None]:
        """Tell layers where states go, and attention who asks."""
        device = self.network.device
        self.into = torch.from_numpy(places.row * self.columns + places.column).to(device)
        self.taken = torch.from_numpy(places.row * places.queries + places.slot).to(device)
        self.used = places.columns
        if self.padded or len(self) == 1:
            yield
            return
        spans = _spans(places.counts, np.where(places.counts > 0, self.filled + places.counts, 0), device)
        before, token = self.config._attn_implementation, _SPANS.set(spans)
        try:
            self.config._attn_implementation = ATTENTION
            yield
        finally:
            self.config._attn_implementation = before
            _SPANS.reset(token)

    def read(self, tokens: Ints, places: Places, position: Ints, *, visible: Tensor, wanted: Ints) -> Tensor:
        """Run the network over new tokens [T] at these positions [T]; return the logits of the wanted ones [W, V].

        visible [T, K]: which columns of its row, its own included, each sees.
        """
        device, count, queries = self.network.device, len(self), places.queries
        row, ids, at = (torch.from_numpy(one).to(device) for one in (places.row, tokens, position))
        with self._passing(places):
            self.positions.view(-1)[self.into] = at
            rest = len(tokens) - int(wanted[0])
            keep: Tensor | int = rest if rest == len(wanted) else torch.from_numpy(wanted).to(device)
            if not self.padded:
                ids, at, visible = ids[None], at[None], visible[None]
            else:  # padding sees everything, for a row of a softmax must not be empty
                ids, at, visible = (
                    one.new_full((count * queries, *one.shape[1:]), fill).index_copy_(0, self.taken, one)
                    for one, fill in ((ids, self.pad), (at, 0), (visible, True))
                )
                ids, at, visible = (one.view(count, queries, *one.shape[1:]) for one in (ids, at, visible))
                keep = queries - int(places.slot[wanted].min())

            def positions() -> tuple[Tensor, Tensor]:
                columns = self.positions[:, : places.columns]
                return at[:, :, None], columns[:, None] if self.padded else columns[row][None]

            logits: Tensor = self.network(
                input_ids=ids,
                attention_mask=layer_masks(self.network, visible, positions, dtype=score_dtype(self.network)),
                position_ids=at,
                past_key_values=Cache(layers=[*self.layers]),
                use_cache=True,
                logits_to_keep=keep,
            ).logits
        self.filled = self.filled + places.counts
        if not self.padded:
            return logits[0]
        slot = torch.from_numpy(places.slot[wanted] - queries).to(device)
        return logits[row[torch.from_numpy(wanted).to(device)], slot]


class _Layer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of all rows in one layer, each row in its own columns."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows: Rows = weakref.proxy(rows)  # in a cycle, what was decoded would lie around until it is collected
        self.rooms: list[Tensor] = []  # keys and values [B, columns, H, d]; none before the first come

    def open(self, both: Sequence[Tensor]) -> None:
        """Make room for keys and values like these [..., H, d]."""
        # Zeros, because what is masked must be finite.
        self.rooms = [one.new_zeros(len(self.rows), self.rows.columns, *one.shape[-2:]) for one in both]

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        both = [states.transpose(1, 2) for states in (key_states, value_states)]
        if not self.rooms:
            self.open(both)
        rows, device = self.rows, key_states.device
        into = rows.into.to(device)
        for room, states in zip(self.rooms, both, strict=True):
            new = states.flatten(0, 1)[rows.taken.to(device)] if rows.padded else states[0]
            room.view(-1, *room.shape[2:]).index_copy_(0, into, new)
        self.keys, self.values = keys, values = [room[:, : rows.used].transpose(1, 2) for room in self.rooms]
        self.is_initialized = True
        return keys, values


_SPANS: ContextVar[Sequence[Span]] = ContextVar("spans")


def _attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, **options: object
) -> tuple[Tensor, None]:
    """Answer the queries [1, H, T, d] of all rows: [1, T, H, d]; keys and values [B, H, K, d], mask [1, 1, T, K]."""
    queries, mask, parts = query[0].transpose(0, 1), attention_mask[0, 0], list[Tensor]()
    for span in _SPANS.get():
        shape = (span.rows.stop - span.rows.start, span.queries)
        places = None if span.places is None else span.places.to(query.device)
        # Padding sees everything, for a row of a softmax must not be empty.
        asked, hidden = (
            one if places is None else one.new_zeros(shape[0] * shape[1], *one.shape[1:]).index_copy_(0, places, one)
            for one in (queries[span.tokens], mask[span.tokens, : span.columns])
        )
        found, _ = sdpa_attention_forward(
            module,
            asked.view(*shape, *asked.shape[1:]).transpose(1, 2),
            key[span.rows, :, : span.columns],
            value[span.rows, :, : span.columns],
            hidden.reshape(*shape, -1)[:, None],
            **options,  # type: ignore[arg-type]
        )
        found = found.flatten(0, 1)
        parts.append(found if places is None else found.index_select(0, places))
    return (parts[0] if len(parts) == 1 else torch.cat(parts))[None], None


AttentionInterface.register(ATTENTION, _attend)


def _spans(counts: Ints, columns: Ints, device: torch.device) -> list[Span]:
    """Cut rows into spans: a row joins the one before unless padding both alike costs more than another call.

    counts [B] of new tokens, columns [B] in use; rows without new tokens have 0 of both.
    """
    cuts = list[tuple[int, int, int, int]]()  # begin, end, queries, columns
    for row in np.flatnonzero(counts).tolist():
        own, wide = int(counts[row]), int(columns[row])
        if cuts:
            begin, end, queries, most = cuts[-1]
            wider = (max(queries, own), max(most, wide))
            if (row + 1 - begin) * wider[0] * wider[1] <= (end - begin) * queries * most + own * wide + CALL:
                cuts[-1] = (begin, row + 1, *wider)
                continue
        cuts.append((row, row + 1, own, wide))
    ends = np.cumsum(counts)
    found = list[Span]()
    for begin, end, queries, most in cuts:
        new = counts[begin:end]
        tokens = slice(int(ends[begin] - counts[begin]), int(ends[end - 1]))
        # A row's queries end with its last place.
        places = np.flatnonzero(np.arange(queries) >= queries - new[:, None])
        padded = len(places) < len(new) * queries
        where = torch.from_numpy(places).to(device) if padded else None
        found.append(Span(slice(begin, end), tokens, queries, most, where))
    return found


def score_dtype(network: PreTrainedModel) -> torch.dtype:
    """Return the precision of attention scores under the autocast of the moment."""
    kind = network.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else network.dtype


def _blocks(columns: int) -> int:
    return -(-columns // BLOCK)


def _resized(old: Tensor, rows: Tensor | None, used: int, columns: int) -> Tensor:
    """Return `rows` (None: all) of old [B, columns, ...] with other room behind the used columns."""
    count = len(old) if rows is None else len(rows)
    fresh = old.new_zeros(count, columns, *old.shape[2:])
    kept = old[:, :used]
    fresh[:, :used] = kept if rows is None else kept.index_select(0, rows.to(old.device))
    return fresh
