"""Models as players: the cache changes no answer, draws follow the distribution, and what is illegal stays illegal."""

import math
from collections import Counter
from collections.abc import Sequence

import chess
import pytest
import torch
from transformers.modeling_outputs import CausalLMOutputWithPast

from surpass.core import Observation
from surpass.domains.chess.arena import RESIGN, Pairing, Played, Player, play
from surpass.domains.chess.character_player import CharacterPlayer
from surpass.domains.chess.memory import Memory
from surpass.domains.chess.model_player import Choice, ModelPlayer, draw, window
from surpass.domains.chess.openings import random_openings
from surpass.domains.chess.rules import legal
from surpass.domains.chess.tokens import Characters, Moves, Play
from surpass.domains.chess.transcript import prompt
from surpass.errors import ConfigError, ModelError
from tests.domains.chess.tiny import CHARACTERS, MOVES, network

LEGAL = Choice(legal_only=True)
OPENINGS = random_openings(6, plies=4, seed=1)


def seen(*moves: str, fen: str = "") -> Observation:
    board = chess.Board(fen) if fen else chess.Board()
    for move in moves:
        board.push_uci(move)
    text = " ".join(moves)
    return Observation(f"[FEN {fen}]\n{text}" if fen else text, tuple(legal(board)), int(not board.turn))


def games(players: Sequence[Player], number: int, *, live: int = 64, plies: int = 24) -> list[Played]:
    last = len(players) - 1
    pairings = [
        Pairing(n + 1, *((0, last) if n % 2 else (last, 0)), OPENINGS[n // 2 % 6], str(n // 2)) for n in range(number)
    ]
    return sorted(play(pairings, players, live=live, max_plies=plies), key=lambda one: one.pairing.round)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_memory_changes_no_logits(kind: str) -> None:
    model, rng = network(50, kind=kind, positions=64), torch.Generator().manual_seed(1)
    memory = Memory(model)
    rows = [torch.randint(0, 50, (size,), generator=rng).tolist() for size in (1, 3, 7, 7, 12)]
    for step in range(14):
        if step == 5:
            rows = [*rows[1:3], *rows[4:], [1, 2], rows[3][:2]]  # games end, others begin, one goes back
        if step == 8:
            rows.append([*rows[0][:-1], 9])  # two games that part ways
        prompts = [tuple(row) for row in rows]
        found = memory.read(prompts if step % 3 else prompts[:2] * 2, all_of_them=step % 4 != 1)
        for prompt_, logits in zip(prompts if step % 3 else prompts[:2] * 2, found, strict=True):
            with torch.no_grad():
                expected = model(torch.tensor([prompt_])).logits[0, -1]
            assert torch.allclose(logits, expected, atol=1e-3), (step, prompt_)
        rows = [[*row, *torch.randint(0, 50, (step % 3,), generator=rng).tolist()] for row in rows]


def test_a_slot_that_takes_the_place_of_another_keeps_what_it_knows() -> None:
    memory, prompts = Memory(network(50)), [(1, 2), (3, 4), (5, 6)]
    first = memory.read(prompts)
    assert torch.equal(memory.read(prompts[1:]), first[1:])  # nothing new to read, and the last slot has moved
    assert torch.equal(memory.read(prompts[1:]), first[1:])


def test_what_a_game_goes_on_with_is_all_that_is_read() -> None:
    model, read = network(MOVES.size), list[int]()
    handle = model.register_forward_pre_hook(
        lambda _, __, keywords: read.append(keywords["input_ids"].numel()), with_kwargs=True
    )
    try:
        games([Player("a", ModelPlayer(model, MOVES, LEGAL), wants_legal=True)], 8, plies=20)
    finally:
        handle.remove()
    assert sum(read) < 8 * 20 + 8 * 8  # each token of each game about once, where 8 * 20 * 12 would read all anew


def test_new_weights_are_read_with_anew() -> None:
    model = network(50, seed=7)
    memory, prompts = Memory(model), [(1, 2, 3), (4, 5)]
    before = memory.read(prompts)
    with torch.no_grad():
        next(model.parameters()).mul_(1.5)
    after = memory.read(prompts)
    assert not torch.allclose(before, after, atol=1e-3)
    assert torch.allclose(after, Memory(model).read(prompts), atol=1e-4)


@pytest.mark.parametrize("choice", [LEGAL, Choice(temperature=0.5, top_p=0.9)])
def test_games_are_the_same_with_and_without_the_memory_and_whatever_else_is_played(choice: Choice) -> None:
    model = network(MOVES.size)
    found = [
        games(
            [
                Player(name, ModelPlayer(model, MOVES, choice, cached=cached), tries=5, wants_legal=True)
                for name in "ab"
            ],
            10,
            live=live,
        )
        for cached, live in ((True, 64), (True, 3), (False, 64))
    ]
    assert found[0] == found[1] == found[2]


def test_legal_moves_only_are_drawn_in_their_own_proportions() -> None:
    player = ModelPlayer(network(MOVES.size), MOVES, LEGAL)
    one = seen("e2e4", "e7e5")
    (scored,) = player.score([one])
    assert math.isclose(sum(scored.prior), 1, abs_tol=1e-5)
    assert math.isclose(sum(scored.values), 1, abs_tol=1e-5)
    with torch.no_grad():
        logits = network(MOVES.size)(torch.tensor([MOVES.encode(Play(("e2e4", "e7e5")))[:-1]])).logits[0, -1]
    kept = logits[[MOVES.place[move] for move in one.legal or ()]].softmax(-1)
    assert torch.allclose(torch.tensor(scored.prior), kept, atol=1e-5)
    rows = player.propose([one] * 1500, 2, seeds=range(1500))
    counts = Counter(proposal.action for row in rows for proposal in row)
    assert set(counts) <= set(one.legal or ())
    for move, share in zip(one.legal or (), scored.prior, strict=True):
        assert abs(counts[move] / 3000 - share) < 5 * math.sqrt(share * (1 - share) / 3000) + 1e-3
    first = rows[0][0]
    assert first.logp == pytest.approx(math.log(scored.prior[(one.legal or ()).index(first.action)]), abs=1e-4)


def test_greedy_is_the_limit_of_low_temperature() -> None:
    base = ModelPlayer(network(MOVES.size), MOVES, Choice(temperature=0.0, legal_only=True))
    cold = base.with_choice(Choice(temperature=1e-3, legal_only=True))
    observations = [seen(*opening.moves) for opening in OPENINGS]
    greedy, low = (one.propose(observations, 1, seeds=range(6)) for one in (base, cold))
    assert [row[0].action for row in greedy] == [row[0].action for row in low]


def test_cuts_of_the_distribution() -> None:
    logp = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()

    def support(choice: Choice) -> list[int]:
        return sorted({int(draw(logp, torch.tensor([n / 500]), choice)[0]) for n in range(500)})

    assert support(Choice()) == [0, 1, 2, 3]
    assert support(Choice(top_p=0.7)) == [0, 1]
    assert support(Choice(top_p=0.01)) == [0]
    # The entropy is 1.21 nats; the surprises 0.69, 1.39, 1.90 and 2.30: the second outcome is the most typical.
    assert support(Choice(typical=0.2)) == [1]
    assert support(Choice(typical=0.6)) == [0, 1]
    assert support(Choice(temperature=1e-300)) == [0]
    never = torch.tensor([[-math.inf, 0.0, -math.inf]])
    assert support(Choice(temperature=0.0)) == [0]
    for number in (0.0, 0.5, 1.0 - 1e-16, 1.0):
        assert int(draw(never, torch.tensor([number]), Choice())[0]) == 1
        assert int(draw(never, torch.tensor([number]), Choice(top_p=0.5, typical=0.5))[0]) == 1
    for bad in ((-1.0, 1.0, 1.0), (math.nan, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, 1.5)):
        with pytest.raises(ConfigError):
            Choice(*bad)


@pytest.mark.parametrize(("result", "action"), [("0-1", "resign"), ("1-0", "1-0"), ("1/2-1/2", "1/2-1/2")])
def test_only_the_result_in_which_one_has_lost_is_a_resignation(result: str, action: str) -> None:
    model = network(MOVES.size)

    def prefer(_: object, __: object, output: CausalLMOutputWithPast) -> None:
        assert output.logits is not None
        output.logits[..., MOVES.place[result]] = 1e4

    handle = model.register_forward_hook(prefer)
    try:
        found = ModelPlayer(model, MOVES).propose([seen()], 1, seeds=[0])
    finally:
        handle.remove()
    assert found[0][0].action == action


def test_a_transcript_longer_than_the_context_loses_its_beginning() -> None:
    model = network(MOVES.size, positions=16)
    player = Player("a", ModelPlayer(model, MOVES, LEGAL), wants_legal=True)
    for one in games([player], 2, plies=60):
        assert one.end == "adjudication"
    assert window(tuple(range(16)), 16, 1) == tuple(range(16))
    assert all(len(window(tuple(range(n)), 16, 1)) <= 16 for n in range(1, 200))
    assert window(tuple(range(17)), 16, 1)[:2] == (0, 8)


def test_a_start_from_a_fen_reads_the_moves_since() -> None:
    player = ModelPlayer(network(MOVES.size), MOVES, LEGAL)
    fen = "4k3/8/8/8/8/8/4P3/4K3 w - - 0 1"
    found = player.propose([seen(fen=fen), seen("e2e4", fen=fen)], 1, seeds=[1, 2])
    assert found[0][0].action in (seen(fen=fen).legal or ())
    assert found[1][0].action in (seen("e2e4", fen=fen).legal or ())


def test_strengths_come_before_the_moves() -> None:
    vocabulary = Moves(strength=True)
    weak, strong = (
        ModelPlayer(network(vocabulary.size), vocabulary, LEGAL, strengths=(rating, rating)).score([seen()])[0]
        for rating in (900, 2500)
    )
    assert weak.prior != pytest.approx(strong.prior, abs=1e-4)


def test_characters_are_written_as_the_paper_writes_them() -> None:
    player = CharacterPlayer(network(CHARACTERS.size), CHARACTERS, Choice(temperature=0.7))
    read = list[str]()
    original = Memory.read

    def listen(self: Memory, prompts: Sequence[tuple[int, ...]], *, all_of_them: bool = True) -> torch.Tensor:
        read.extend(CHARACTERS.text(one) for one in prompts)
        return original(self, prompts, all_of_them=all_of_them)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Memory, "read", listen)
        player.propose([seen("e2e4", "e7e5"), seen("e2e4")], 1, seeds=[0, 1])
        assert read[0] == ";1.e4 e5 2."
        assert ";1.e4 " in read
    assert prompt(2, first=0) == " 2."


def test_characters_among_legal_moves_never_forfeit() -> None:
    vocabulary = Characters(results=False)
    player = CharacterPlayer(network(vocabulary.size, positions=512), vocabulary, LEGAL)
    found = games(
        [Player("c", player), Player("m", ModelPlayer(network(MOVES.size), MOVES, LEGAL), wants_legal=True)], 6
    )
    assert {one.end for one in found} <= {"adjudication", "checkmate", "stalemate", "threefold repetition"}
    assert [one.moves for one in found] == [
        one.moves
        for one in games(
            [
                Player("c", CharacterPlayer(network(vocabulary.size, positions=512), vocabulary, LEGAL)),
                Player("m", ModelPlayer(network(MOVES.size), MOVES, LEGAL, cached=False), wants_legal=True),
            ],
            6,
            live=2,
        )
    ]


def test_raw_characters_are_counted_and_forfeit() -> None:
    player = Player("c", CharacterPlayer(network(CHARACTERS.size), CHARACTERS), tries=5)
    for one in games([player, Player("m", ModelPlayer(network(MOVES.size), MOVES, LEGAL), wants_legal=True)], 4):
        assert one.end == "illegal move"
        assert sorted(one.illegal)[1] == 5


def test_what_does_not_fit_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="outputs"):
        ModelPlayer(network(50), MOVES)
    with pytest.raises(ModelError, match="context"):
        ModelPlayer(network(MOVES.size, positions=8), MOVES)
    with pytest.raises(ModelError, match="legal moves"):
        ModelPlayer(network(MOVES.size), MOVES, LEGAL).propose([Observation("")], 1, seeds=[0])
    assert ModelPlayer(network(MOVES.size), MOVES).propose([], 1, seeds=[]) == []


@pytest.mark.parametrize(
    "choice",
    [
        Choice(),
        Choice(0.3),
        Choice(top_p=0.6),
        Choice(0.7, typical=0.5),
        Choice(legal_only=True),
        Choice(temperature=0),
    ],
)
def test_chances_are_those_of_what_is_drawn(choice: Choice) -> None:
    player = ModelPlayer(network(MOVES.size), MOVES, choice)
    positions = [seen(), seen("e2e4", "e7e5")]
    (first, second) = (row[0] for row in player.chances(positions, [choice]))
    for one, chances in zip(positions, (first, second), strict=True):
        drawn = player.propose([one] * 1500, 1, seeds=range(1500))
        counts = Counter(row[0].action for row in drawn)
        total = sum(chances.values())
        assert total == pytest.approx(1) if choice.legal_only else total <= 1 + 1e-9
        assert set(chances) <= set(one.legal or ())
        assert sum(counts[move] for move in one.legal or ()) / 1500 == pytest.approx(total, abs=0.06)
        for move, chance in chances.items():
            assert counts[move] / 1500 == pytest.approx(chance, abs=0.06)
    assert player.chances([], [choice]) == []


def test_chances_of_several_choices_are_read_off_one_reading() -> None:
    player = ModelPlayer(network(MOVES.size), MOVES, LEGAL)
    choices = [Choice(0.001), Choice(), Choice(1.5, legal_only=True)]
    together = player.chances([seen(), seen("d2d4")], choices)
    for at, choice in enumerate(choices):
        alone = player.chances([seen(), seen("d2d4")], [choice])
        for several, one in zip(together, alone, strict=True):
            assert several[at] == pytest.approx(one[0], abs=1e-4)


def test_among_legal_moves_a_model_resigns_as_often_as_raw(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is illegal goes to the legal moves alone: a model that knows few of them does not give up for that."""
    after, other = seen("e2e4"), seen("e2e4", "e7e5", "g1f3")
    logits = torch.zeros(1, MOVES.size)
    logits[0, MOVES.place["1-0"]] = 7.0  # Black, to move, has lost
    chance = float(logits.softmax(-1)[0, MOVES.place["1-0"]])
    never = ModelPlayer(network(MOVES.size), MOVES, LEGAL)
    may = never.with_choice(Choice(legal_only=True, resigns=True))
    for one in (never, may):
        monkeypatch.setattr(one, "_logits", lambda observations: logits.expand(len(observations), -1))
    rows = [after, other] * 1000
    assert RESIGN not in {row[0].action for row in never.propose(rows, 1, seeds=range(2000))}
    found = may.propose(rows, 1, seeds=range(2000))
    for at, position in enumerate((after, other)):
        drawn = Counter(row[0].action for row in found[at::2])
        assert set(drawn) == {*(position.legal or ()), RESIGN}
        assert drawn[RESIGN] / 1000 == pytest.approx(chance, abs=0.06)
    (given,) = {row[0].logp for row in found if row[0].action == RESIGN}
    assert given == pytest.approx(math.log(chance), abs=1e-5)
