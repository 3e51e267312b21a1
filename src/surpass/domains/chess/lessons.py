"""Packs as what `train` learns from: a row of a pack is a trajectory, and a network of transcripts is its policy.

A *lesson* is one row of `blocks.Blocks`: the tokens that are learned in it are the tokens of its one step, and
`Problem.data` holds the block and the number of the row, from which the policy reads inputs, positions and which
tokens see each other. Which rows a step learns from depends on the seed and the step alone, so a resumed run meets
those it would have met, and within an epoch every token is learned once. Lessons are not recorded: the pack holds them.

Only what is learned goes through the output layer. Games of a row do not see each other; rows of a stream have no mask,
so that attention takes its fastest path.

Legend: B rows, L columns, N learned tokens of all rows, T the most of one row, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from surpass.core import Observation, Policy, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.domains.chess.blocks import Block, Blocks
from surpass.domains.chess.character_player import CharacterPlayer
from surpass.domains.chess.llama import quicken
from surpass.domains.chess.model_player import Choice, ModelPlayer
from surpass.domains.chess.tokens import Characters, Moves
from surpass.errors import DataError
from surpass.models.checkpoint import CPU, Placement

_SEEN = Observation("")
_PACKED = Verdict(Status.ACCEPTED, (0.0,), "pack: games as they were played, not judged")


def lessons(blocks: Blocks, rows: int) -> Callable[[int], list[Trajectory]]:
    """Return what step n learns from: batch n of the blocks, a trajectory for each row that has something to learn."""

    def of_step(step: int) -> list[Trajectory]:
        block = blocks.block(step, rows)
        learned = np.flatnonzero(block.mask.any(axis=1))
        return [_lesson(block, int(row), f"step {step}, row {row}") for row in learned]

    return of_step


def _lesson(block: Block, row: int, key: str) -> Trajectory:
    tokens = tuple(block.targets[row][block.mask[row]].tolist())
    problem = Problem(key, data={"block": block, "row": row})
    return Trajectory(problem, (Step(_SEEN, Proposal("", tokens=tokens)),), _PACKED)


class Pupil:
    """A network of transcripts that can be trained, and plays as it is.

    `compiled` compiles the network (worth it on a GPU, minutes lost on a CPU). With `Placement.autocast` matrix
    products are bfloat16 and weights stay float32.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        vocabulary: Moves | Characters,
        *,
        placement: Placement = CPU,
        compiled: bool = False,
    ) -> None:
        self.network, self.vocabulary, self.placement = network, vocabulary, placement
        nn.Module.to(network, placement.device, placement.dtype)
        if torch.device(placement.device).type == "cpu" and not compiled:
            quicken(network)
        body = network.base_model
        self._body: Callable[..., Any] = torch.compile(body, dynamic=False) if compiled else body
        self._head: nn.Module = network.get_output_embeddings()  # type: ignore[no-untyped-call]

    def logp(self, trajectories: Sequence[Trajectory]) -> Tensor:
        """Return the log-probabilities [B, T] of what is learned in each row, with gradient, in float32."""
        flat, mask = self.learned([lesson.problem.data for lesson in trajectories])
        counts = mask.sum(dim=1)
        filled = torch.arange(int(counts.max()), device=mask.device) < counts[:, None]
        return flat.new_zeros(filled.shape).masked_scatter(filled, flat)

    def learned(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Tensor, Tensor]:
        """Return the log-probabilities [N] of all learned tokens, row by row, and which they are [B, L]."""
        device = self.placement.device
        stacked = {
            name: torch.from_numpy(np.stack([getattr(row["block"], name)[row["row"]] for row in rows]))
            for name in ("tokens", "targets", "mask", "document", "position")
        }
        apart = visible(stacked["document"], stacked["position"])
        mask = stacked["mask"].to(device)
        position = None if apart is None else stacked["position"].to(device)  # of a stream: columns, as by default
        with self._precision():
            hidden = self._body(
                input_ids=stacked["tokens"].to(device),
                attention_mask=None if apart is None else apart.to(device),
                position_ids=position,
                use_cache=False,
            ).last_hidden_state
            logits = self._head(hidden[mask])
        targets = stacked["targets"][stacked["mask"]].to(device)
        return -cross_entropy(logits.float(), targets, reduction="none"), mask

    def encode(self, action: str) -> tuple[int, ...]:
        """Return the tokens of a move. Raises DataError for a text that the vocabulary does not have."""
        if isinstance(self.vocabulary, Characters):
            return tuple(self.vocabulary.tokens(action))
        if action not in self.vocabulary.place:
            raise DataError(f"expected a move in UCI such as e2e4, found {action[:20]!r}")
        return (self.vocabulary.place[action],)

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return `n` drawn moves for each observation, as a player of the arena does."""
        return self._player.propose(observations, n, seeds=seeds)

    def tempered(self, temperature: float) -> Policy:
        """Return a player with the same weights at another temperature."""
        return self._player.with_choice(Choice(temperature))

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return what training changes."""
        return self.network.parameters()

    def state_dict(self) -> dict[str, Any]:
        """Return the weights, not copied."""
        return dict(self.network.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.network.load_state_dict(dict(state))

    @cached_property
    def _player(self) -> ModelPlayer | CharacterPlayer:
        kind = ModelPlayer if isinstance(self.vocabulary, Moves) else CharacterPlayer
        return kind(self.network, self.vocabulary)  # type: ignore[arg-type]  # each has its vocabulary

    def _precision(self) -> AbstractContextManager[object]:
        if self.placement.autocast is None:
            return nullcontext()
        return torch.autocast(torch.device(self.placement.device).type, self.placement.autocast)


def visible(document: Tensor, position: Tensor) -> Tensor | None:
    """Return which column [B, 1, L, L] each one sees: itself and the earlier ones of its game; None for a stream.

    In a stream positions are columns, and what was before is seen whatever game it is of.
    """
    columns = torch.arange(document.shape[1], device=document.device)
    if bool(((position == columns) | (document < 0)).all()):
        return None
    same = document[:, :, None] == document[:, None, :]
    return (same & (columns[:, None] >= columns)).unsqueeze(1)


@torch.no_grad()
def held_out_loss(pupil: Pupil, blocks: Blocks, rows: int, *, batches: int) -> dict[str, float]:
    """Return the mean loss, in nats, of a learned token over the first batches of some blocks, at most one epoch."""
    total, count = 0.0, 0
    for step in range(min(batches, -(-blocks.rows // rows))):
        found = lessons(blocks, min(rows, blocks.rows))(step)
        flat, _ = pupil.learned([lesson.problem.data for lesson in found])
        total, count = total - float(flat.double().sum()), count + len(flat)
    return {"loss": total / count, "tokens": float(count)}
