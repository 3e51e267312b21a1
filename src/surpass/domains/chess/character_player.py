"""A model of the paper's characters as a player: it writes the next move in SAN, letter by letter.

The protocol of Transcendence (arXiv 2406.11741): the prompt is `;1.e4 e5 2.`, up to ten characters are drawn, and the
first word of them, cut at a check mark, is the move. A word that is no legal move is proposed as it is written and is
the arena's to count; the result in which the side to move has lost is its resignation. With `legal_only` each letter
is drawn among those that some legal move goes on with: never illegal, but not quite the model's distribution over the
legal moves, which would need every one of them scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import chess
import torch
from torch import Tensor
from transformers import PreTrainedModel

from surpass.core import Observation, Proposal
from surpass.domains.chess.arena import LOST, RESIGN
from surpass.domains.chess.memory import Memory
from surpass.domains.chess.model_player import Choice, context, draw, window
from surpass.domains.chess.rules import board_of, legal
from surpass.domains.chess.tokens import Characters, Play
from surpass.domains.chess.transcript import prompt
from surpass.errors import ModelError
from surpass.models.packing import Tokens
from surpass.rollouts.seeds import derive_seed

LONGEST = 10  # characters drawn for one move
STOPS = " ;+#"


@dataclass(frozen=True, slots=True)
class _Place:
    """A position and the transcript that led to it."""

    board: chess.Board
    first: int  # half-moves before the transcript
    text: str  # without what comes before the next move


@dataclass(slots=True)
class _Word:
    """A move in the making."""

    row: int
    tokens: Tokens
    names: Mapping[str, str]  # legal moves: SAN without check marks -> UCI
    seed: int
    text: str = ""
    logp: float = 0.0
    ended: bool = False


class CharacterPlayer:
    """A policy over chess observations in UCI notation, for a model of characters."""

    def __init__(
        self,
        network: PreTrainedModel,
        vocabulary: Characters,
        choice: Choice = Choice(),  # noqa: B008 - frozen
        *,
        strengths: tuple[int | None, int | None] = (None, None),
    ) -> None:
        self.network, self.vocabulary, self.choice, self.strengths = network, vocabulary, choice, strengths
        network.train(False)
        self.context = context(network, vocabulary)
        start = Characters(results=False, strength=vocabulary.strength)
        self._head = start.text(start.encode(Play((), "*", strengths)))
        self._memories = (Memory(network), Memory(network))
        self._places: dict[str, _Place] = {}

    def with_choice(self, choice: Choice) -> Self:
        """Return a player with the same weights that draws its moves otherwise, with a memory of its own."""
        return type(self)(self.network, self.vocabulary, choice, strengths=self.strengths)

    def with_strengths(self, strengths: tuple[int | None, int | None]) -> Self:
        """Return a player that is told White's and Black's ratings, with a memory of its own."""
        return type(self)(self.network, self.vocabulary, self.choice, strengths=strengths)

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return `n` drawn moves for each observation, in UCI where they are legal.

        The log-probability is that of the letters at temperature 1, the blank behind them included.
        """
        places = {one.text: self._place(one.text) for one in observations}
        self._places = places  # what is not asked for any more is forgotten
        rows: list[list[Proposal]] = [[] for _ in observations]
        for number in range(n):
            words = list[_Word]()
            for row, (one, seed) in enumerate(zip(observations, seeds, strict=True)):
                place = places[one.text]
                names = {place.board.san(move).rstrip("+#"): uci for uci, move in legal(place.board).items()}
                words.append(_Word(row, self._prompt(place), names, derive_seed(seed, "draw", number)))
            self._write(words, [one.seat for one in observations])
            for word, one in zip(words, observations, strict=True):
                resigned = word.text == LOST[one.seat]
                action = RESIGN if resigned else word.names.get(word.text, word.text)
                rows[word.row].append(Proposal(action, word.logp))
        return rows

    def prompts(self, observations: Sequence[Observation]) -> list[Tokens]:
        """Return what the network reads of each observation, cut to its context."""
        return [self._prompt(self._place(one.text)) for one in observations]

    def _prompt(self, place: _Place) -> Tokens:
        text = f"{self._head}{place.text}{prompt(place.board.ply(), first=place.first)}"
        return window(tuple(self.vocabulary.tokens(text)), self.context - LONGEST, len(self._head))

    def _write(self, words: Sequence[_Word], seats: Sequence[int]) -> None:
        """Draw the letters of all words, one for each at a time."""
        for step in range(LONGEST):
            open_ = [word for word in words if not word.ended]
            if not open_:
                return
            for seat, memory in enumerate(self._memories):
                asked = [word for word in open_ if seats[word.row] == seat]
                if asked:
                    logits = memory.read([word.tokens for word in asked], all_of_them=step == 0)
                    self._letters(asked, logits[:, : self.vocabulary.size].cpu(), step)

    def _letters(self, words: Sequence[_Word], logits: Tensor, step: int) -> None:
        if not torch.isfinite(logits).all():
            raise ModelError("the model gave logits that are not finite: its weights are damaged or diverged")
        if self.choice.legal_only:
            allowed = torch.full_like(logits, -torch.inf)
            for row, word in enumerate(words):
                allowed[row, self._goes_on(word)] = 0.0
            logits = logits + allowed
        logp = logits.log_softmax(-1)
        numbers = torch.tensor([derive_seed(word.seed, step) / 2**63 for word in words], dtype=torch.float64)
        for row, (word, token) in enumerate(zip(words, draw(logp, numbers, self.choice).tolist(), strict=True)):
            letter = self.vocabulary.text([token])
            word.logp += float(logp[row, token])
            word.ended = letter in STOPS
            if not word.ended:
                word.text += letter
                word.tokens = (*word.tokens, token)

    def _goes_on(self, word: _Word) -> list[int]:
        """Return the tokens that a legal move goes on with after the letters so far; a blank where one is complete."""
        begun = len(word.text)
        nexts = {name[begun] if len(name) > begun else " " for name in word.names if name.startswith(word.text)}
        return self.vocabulary.tokens("".join(sorted(nexts)))

    def _place(self, text: str) -> _Place:
        """Return the position of a transcript in UCI, going on from one or two moves before where that is known."""
        if (known := self._places.get(text)) is not None:
            return known
        head, _, moves = text.rpartition("\n")
        words = moves.split()
        for back in (1, 2):
            before = "\n".join([*([head] if head else []), " ".join(words[: len(words) - back])])
            if back <= len(words) and (known := self._places.get(before)) is not None:
                board, first, written, rest = known.board.copy(stack=False), known.first, known.text, words[-back:]
                break
        else:
            board = board_of(head.removeprefix("[FEN ").removesuffix("]"))
            first, written, rest = board.ply(), "", words
        for move in rest:
            words_of_move = prompt(board.ply(), first=first)
            written += words_of_move + board.san_and_push(chess.Move.from_uci(move))
        return _Place(board, first, written)
