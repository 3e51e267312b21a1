"""Reading game sets: every game comes back or is counted, whatever the file holds and wherever it is cut."""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path

import pyarrow
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from surpass.domains.chess.filters import SPEEDS, Filter, rating, speed
from surpass.domains.chess.games import BadGame, Game, Report, play, read
from surpass.domains.chess.pgn import movetext, scan, words, write
from surpass.domains.chess.readers import Record, records
from surpass.domains.chess.rules import sans
from surpass.errors import ConfigError, DataError
from tests.domains.chess.played import pgn_of, random_game

GAMES = [random_game(seed, 12 + seed, (1000 + 10 * seed, 1400 - 10 * seed)) for seed in range(30)]
ANY = Filter()
TEXT = "".join(map(pgn_of, GAMES))


def load(path: Path, keep: Filter = ANY) -> tuple[list[Game], Report]:
    report = Report()
    games = list(read([path], keep, report))
    assert report.read == report.kept + report.dropped.total() + report.bad.total()
    assert report.kept == len(games)
    assert report.plies == sum(len(game.moves) for game in games)
    return games, report


def pgn(folder: Path, text: str, name: str = "games.pgn") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def frames(*parts: bytes) -> bytes:
    return b"".join(zstandard.ZstdCompressor().compress(part) for part in parts)


def table(games: list[Game]) -> list[dict[str, object]]:
    winners = {"1-0": "white", "0-1": "black", "1/2-1/2": "draw", "*": ""}
    return [
        {
            "moves": " ".join(sans(game.moves)),
            "white_rating": game.white_rating,
            "black_rating": game.black_rating,
            "winner": winners[game.result],
            "turns": len(game.moves),
            "increment_code": "15+2",
            "opening": "not looked at",
        }
        for game in games
    ]


def test_pgn_comes_back_as_it_was_written(tmp_path: Path) -> None:
    games, report = load(pgn(tmp_path, TEXT))
    assert games == GAMES
    assert [game.tags["White"] for game in games] == [game.tags["White"] for game in GAMES]
    assert not report.bad
    assert not report.trouble


@pytest.mark.parametrize("mark", ["\r\n", "\n"])
@pytest.mark.parametrize("cut", [None, 5000])
def test_compressed_pgn_in_one_frame_or_many(tmp_path: Path, mark: str, cut: int | None) -> None:
    data = TEXT.replace("\n", mark).encode()
    (tmp_path / "games.pgn.zst").write_bytes(frames(data[:cut]) if cut is None else frames(data[:cut], data[cut:]))
    assert load(tmp_path / "games.pgn.zst")[0] == GAMES


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_gives_what_stands_before_the_cut(tmp_path: Path, share: float) -> None:
    data = b"".join(frames(pgn_of(game).encode()) for game in GAMES)
    path = tmp_path / "games.pgn.zst"
    path.write_bytes(data[: int(share * len(data))])
    games, report = load(path)
    assert games == GAMES[: len(games)]
    assert 0.7 * share * len(GAMES) - 2 < len(games) < len(GAMES)
    assert "cut off" in report.trouble[0]


def test_a_damaged_file_gives_what_stands_before_the_damage(tmp_path: Path) -> None:
    parts = [frames(pgn_of(game).encode()) for game in GAMES]
    parts[20] = b"\x00" * 10 + parts[20][10:]
    (tmp_path / "games.pgn.zst").write_bytes(b"".join(parts))
    games, report = load(tmp_path / "games.pgn.zst")
    assert games == GAMES[:19]  # the twentieth may go on behind the damage
    assert "damaged" in report.trouble[0]
    (tmp_path / "noise.pgn.zst").write_bytes(b"no compression at all")
    with pytest.raises(DataError, match="damaged"):
        load(tmp_path / "noise.pgn.zst")


@pytest.mark.parametrize("cut", [3, 40, 120])
def test_plain_text_that_is_cut_loses_only_the_last_game(tmp_path: Path, cut: int) -> None:
    games, report = load(pgn(tmp_path, TEXT[:-cut]))
    assert games == GAMES[: len(games)]
    assert len(games) == len(GAMES) - 1
    assert report.bad.total() == 1
    assert set(report.bad) <= {"cut off", "two results", "no moves", "number of moves differs"}


def test_what_is_no_game_set_is_not_held_in_memory(tmp_path: Path) -> None:
    noise = pgn(tmp_path, pgn_of(GAMES[0]) + pgn_of(GAMES[1]) + "x" * (1 << 25))
    games, report = load(noise)
    assert games == GAMES[:1]
    assert "a line of more than" in report.trouble[0]
    endless = pgn(tmp_path, '[Event "x"]\n' + "1. e4 e5\n" * 200_000 + pgn_of(GAMES[0]))
    games, report = load(endless)
    assert games == GAMES[:1]
    assert report.bad == Counter(unreadable=1)
    assert max(len(record.movetext) for record in records(endless)) < 1.1 * (1 << 20)


GAME = '[Event "x"]\n[Result "{result}"]\n{tags}\n{text}\n\n'


@pytest.mark.parametrize(
    ("text", "result", "tags", "reason"),
    [
        ("1. e4 e5 2. Ke3 1-0", "1-0", "", "illegal move"),
        ("1. e4 e5 2. -- 1-0", "1-0", "", "illegal move"),
        ("1. e4 0000 1-0", "1-0", "", "illegal move"),
        ("1. e4 e5 2. Nf3 Nc6 3. Ng9 1-0", "1-0", "", "illegal move"),
        ("1. e4 {never closed 1-0", "1-0", "", "unreadable"),
        ("1. e4 (1. d4 1-0", "1-0", "", "unreadable"),
        ("1. e4 1-0", "1-0", '[SetUp "1"]\n[FEN "nonsense"]\n', "unreadable"),
        ("1-0", "1-0", "", "no moves"),
        ("1. f3 e5 2. g4 Qh4# 1-0", "1-0", "", "result contradicts the board"),
        ("1. e4 e5 1-0", "0-1", "", "two results"),
        ("1. e4 e5 1-0", "won", "", "result unreadable"),
        ("1. e4 e5 1-0", "1-0", '[PlyCount "3"]\n', "number of moves differs"),
        ("1. e4 e5 1-0", "1-0", f'[PlyCount "{5000 * "9"}"]\n', "number of moves differs"),
        ("1. e4 e5 1-0", "1-0", '[Variant "Atomic"]\n', "another variant"),
    ],
)
def test_a_bad_game_is_counted_by_its_reason_and_the_others_are_read(
    tmp_path: Path, text: str, result: str, tags: str, reason: str
) -> None:
    bad = GAME.format(text=text, result=result, tags=tags)
    games, report = load(pgn(tmp_path, pgn_of(GAMES[0]) + bad + pgn_of(GAMES[1])))
    assert games == GAMES[:2]
    assert report.bad == Counter({reason: 1})
    assert report.examples[reason][0].startswith("games.pgn:2")


def test_a_claimed_mate_must_stand_on_the_board() -> None:
    with pytest.raises(BadGame) as found:
        play(Record("x:1", "e4 e5", {"Result": "1-0", "Termination": "mate"}))
    assert found.value.reason == "no mate where one is claimed"
    assert play(Record("x:1", "f3 e5 g4 Qh4", {"Result": "*"})).result == "0-1"  # the board knows better than `*`


def test_the_report_names_three_examples_and_shows_everything(tmp_path: Path) -> None:
    from rich.console import Console

    text = "".join(GAME.format(text="1. e5 *", result="*", tags="") for _ in range(7))
    report = load(pgn(tmp_path, text + pgn_of(GAMES[0])))[1]
    assert len(report.examples["illegal move"]) == 3
    report.trouble.append("broke")
    page = Console(file=io.StringIO(), width=200, record=True)
    page.print(report.table())
    shown = page.export_text()
    assert "illegal move" in shown
    assert "broke" in shown


@given(st.text(alphabet='0123456789.-/*KQRBNOabcdefgh1x+#=!?${}(); \n[]"%', max_size=200))
@settings(max_examples=300)
def test_no_text_stops_the_scanner(text: str) -> None:
    for _, found in scan(text.split("\n")):
        try:
            moves, result = words(found)
        except ValueError:
            continue
        assert all(moves)
        assert result in ("", "1-0", "0-1", "1/2-1/2", "*")
        with suppress(BadGame):
            play(Record("x:1", found, {}))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (300_000 * "{", None),
        (300_000 * "(" + "1. d4", None),
        (300_000 * "(" + 300_000 * ")" + "1. e4 *", (["e4"], "*")),
        (300_000 * ")", ([300_000 * ")"], "")),
        ("1. e4 ; a { in a line\n1... e5 { a ; in braces } *", (["e4", "e5"], "*")),
        ("1. e4 (1. d4) e5 ) *", (["e4", "e5", ")"], "*")),
    ],
)
def test_brackets_are_read_in_one_pass(text: str, found: object) -> None:
    """Time grows with the length of a text, not with its square, which would take minutes here."""
    began = time.process_time()
    if found is None:
        with pytest.raises(ValueError, match="is not closed"):
            words(text)
    else:
        assert words(text) == found
    assert time.process_time() - began < 5


@given(st.integers(0, 10_000), st.integers(1, 60))
@settings(max_examples=25)
def test_comments_variations_and_glyphs_change_nothing(seed: int, plies: int) -> None:
    game = random_game(seed, plies)
    plain = movetext(list(sans(game.moves)), game.result)
    dressed = " ".join(
        word
        if word[0].isdigit() or word == "*"
        else f'{word}!? $12 {{ [%clk 0:01:00] [Event "x"]\n1-0 ) }} (1. e4 (1. d4) *)'
        for word in plain.split()
    )
    assert words(dressed) == words(plain)
    [(tags, found)] = scan(write({"White": 'a "b" \\ c'}, dressed).split("\n"))
    assert tags["White"] == 'a "b" \\ c'
    assert words(found) == words(plain)


def test_a_tag_within_a_comment_is_a_comment() -> None:
    text = '[White "a"]\n\n1. e4 { as in\n[White "b"]\n\n1. d4 * } e5 {\n} *\n\n[White "c"]\n\n1. c4 *\n'
    found = [(tags["White"], words(moves)[0]) for tags, moves in scan(text.split("\n"))]
    assert found == [("a", ["e4", "e5"]), ("c", ["c4"])]


def test_csv_and_parquet_hold_the_same_games(tmp_path: Path) -> None:
    rows = table(GAMES)
    with (tmp_path / "games.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "games.csv.zst").write_bytes(frames((tmp_path / "games.csv").read_bytes()))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "games.parquet")
    for name in ("games.csv", "games.csv.zst", "games.parquet"):
        games, report = load(tmp_path / name)
        assert games == GAMES, name
        assert not report.bad
        assert games[0].tags["TimeControl"] == "900+2"


def test_the_columns_of_the_papers_data(tmp_path: Path) -> None:
    """`url,whiteElo,blackElo,result,transcript`, the moves with their numbers."""
    from surpass.domains.chess.transcript import numbered

    lines = ["url,whiteElo,blackElo,result,transcript"]
    lines += [f"u,{g.white_rating},{g.black_rating},{g.result},{numbered(list(sans(g.moves)))}" for g in GAMES]
    (tmp_path / "lichess.csv").write_text("\n".join(lines))
    assert load(tmp_path / "lichess.csv")[0] == GAMES


def test_moves_in_uci_are_read_too() -> None:
    assert play(Record("x:1", " ".join(GAMES[3].moves), {"Result": GAMES[3].result})).moves == GAMES[3].moves


def test_a_missing_column_says_which_and_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "games.csv").write_text("moves,winner\ne4 e5,white\n")
    assert len(load(tmp_path / "games.csv")[0]) == 1
    with pytest.raises(DataError, match=r"expected a column of WhiteElo .* found moves, winner"):
        load(tmp_path / "games.csv", Filter(max_rating=1000))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="column of the moves"):
        load(tmp_path / "other.csv")
    for name in ("empty.csv", "games.txt", "missing.pgn"):
        if name == "empty.csv":
            (tmp_path / name).touch()
        with pytest.raises(DataError):
            load(tmp_path / name)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match="no whole parquet file"):
        load(tmp_path / "broken.parquet")


def test_a_broken_row_is_trouble_and_the_rows_before_it_stay(tmp_path: Path) -> None:
    (tmp_path / "games.csv").write_text('moves,winner\ne4 e5,white\n"d4 d5" x,black\nc4,draw\n')
    games, report = load(tmp_path / "games.csv")
    assert len(games) == 1
    assert "is not CSV" in report.trouble[0]


def test_a_parquet_with_bytes_that_are_no_text_is_trouble(tmp_path: Path) -> None:
    rows = [{"moves": moves} for moves in ("d2d4", "e2e4")]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "games.parquet", compression="none")
    data = (tmp_path / "games.parquet").read_bytes()
    assert b"e2e4" in data
    (tmp_path / "games.parquet").write_bytes(data.replace(b"e2e4", b"e2\xb54"))
    with pytest.raises(DataError, match="no whole parquet file"):
        load(tmp_path / "games.parquet")


@cache
def _whole(name: str) -> bytes:
    """A game set in one of the formats."""
    rows, lines, sink = table(GAMES[:6]), io.StringIO(), io.BytesIO()
    if name.endswith(".parquet"):
        parquet.write_table(pyarrow.Table.from_pylist(rows), sink, compression="none")
        return sink.getvalue()
    writer = csv.DictWriter(lines, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    text = (lines.getvalue() if ".csv" in name else "".join(map(pgn_of, GAMES[:6]))).encode()
    return frames(text) if name.endswith(".zst") else text


@pytest.mark.parametrize("name", ["a.pgn", "a.pgn.zst", "a.csv", "a.csv.zst", "a.parquet"])
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=3)), min_size=1, max_size=4))
def test_whatever_bytes_are_changed_games_are_counted_or_the_file_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, changes: list[tuple[float, int, bytes]]
) -> None:
    data = _whole(name)
    for share, lost, new in changes:
        at = int(share * len(data))
        data = data[:at] + new + data[at + lost :]
    path = tmp_path_factory.mktemp("changed") / name
    path.write_bytes(data)
    with suppress(DataError):
        load(path, Filter(speeds=("rapid", "classical"), max_rating=1500))


def test_trouble_in_one_file_does_not_keep_the_next_from_being_read(tmp_path: Path) -> None:
    cut = tmp_path / "a.pgn.zst"
    cut.write_bytes(b"".join(frames(pgn_of(game).encode()) for game in GAMES[:9])[:-5])
    report = Report()
    games = list(read([cut, pgn(tmp_path, "".join(map(pgn_of, GAMES[20:])))], Filter(), report))
    assert games[-10:] == GAMES[20:]
    assert len(report.trouble) == 1


def test_the_cap_is_on_the_higher_rating(tmp_path: Path) -> None:
    games, report = load(pgn(tmp_path, TEXT), Filter(max_rating=1250))
    assert games
    assert {max(one.white_rating or 0, one.black_rating or 0) <= 1250 for one in games} == {True}
    assert len(games) == sum(max(one.white_rating or 0, one.black_rating or 0) <= 1250 for one in GAMES)
    assert set(report.dropped) == {"a rating above 1250"}
    low = load(pgn(tmp_path, TEXT), Filter(min_rating=1150))[0]
    assert low == [one for one in GAMES if min(one.white_rating or 0, one.black_rating or 0) >= 1150]
    unknown = pgn(tmp_path, pgn_of(random_game(1, 9, (900, None))))
    assert load(unknown, Filter(max_rating=1000))[1].dropped == Counter({"rating unknown": 1})


def test_a_game_recorded_twice_is_kept_once_and_an_equal_one_of_others_stays(tmp_path: Path) -> None:
    other = Game(GAMES[0].moves, GAMES[0].result, 1, 2)
    text = pgn_of(GAMES[0]) + pgn_of(GAMES[0]) + pgn_of(other)
    games, report = load(pgn(tmp_path, text))
    assert len(games) == 2
    assert report.dropped == Counter(duplicate=1)
    assert len(load(pgn(tmp_path, text), Filter(duplicates=False))[0]) == 3


def test_results_and_ways_to_end(tmp_path: Path) -> None:
    path = pgn(tmp_path, TEXT)
    won = load(path, Filter(outcomes=("1-0", "0-1")))
    assert won[0] == [one for one in GAMES if one.result in ("1-0", "0-1")]
    assert sum(won[1].dropped.values()) == len(GAMES) - len(won[0])
    ends = ("Normal", "Time forfeit", "rules infraction", "adjudication", "abandoned")
    text = "".join(
        write({"Result": "1/2-1/2", "Termination": end, "White": end}, movetext(["e4"], "1/2-1/2")) for end in ends
    )
    games, report = load(pgn(tmp_path, text), Filter(normal=True))
    assert [one.tags["White"] for one in games] == ["Normal"]
    assert report.dropped["ended by time forfeit"] == 1
    assert len(load(pgn(tmp_path, text))[0]) == 5
    with pytest.raises(ConfigError, match="found '2-0'"):
        Filter(outcomes=("2-0",))


def test_length_and_start(tmp_path: Path) -> None:
    start = '[FEN "4k3/8/8/8/8/8/4P3/4K3 b - - 0 1"]\n'
    text = GAME.format(text="1... Kd7 2. e4 *", result="*", tags=start) + pgn_of(GAMES[9])
    games = load(pgn(tmp_path, text))[0]
    assert (games[0].fen, games[0].moves) == ("4k3/8/8/8/8/8/4P3/4K3 b - - 0 1", ("e8d7", "e2e4"))
    report = load(pgn(tmp_path, text), Filter(initial=True, min_plies=2))[1]
    assert report.dropped == Counter({"from another position": 1})
    kept, report = load(pgn(tmp_path, text), Filter(initial=True, start="4k3/8/8/8/8/8/4P3/4K3 b"))
    assert (kept, report.dropped) == (games[:1], Counter({"from another position": 1}))
    with pytest.raises(DataError, match="expected a position"):
        load(pgn(tmp_path, text), Filter(start="no position"))
    assert load(pgn(tmp_path, text), Filter(min_plies=3))[1].dropped == Counter({"under 3 half-moves": 1})


@pytest.mark.parametrize(
    ("control", "name"),
    [
        ("15", "ultrabullet"),
        ("60+1", "bullet"),
        ("180+0", "blitz"),
        ("300+5", "rapid"),
        ("1800", "classical"),
        ("?", ""),
    ],
)
def test_time_controls(control: str, name: str) -> None:
    assert speed(control) == name
    wanted = Filter(speeds=("blitz", "rapid"))
    assert bool(wanted.refusal({"TimeControl": control})) == (name not in wanted.speeds)


def test_filters_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="found 'fast'"):
        Filter(speeds=("fast",))
    with pytest.raises(ConfigError, match="at least 1500 and at most 1000"):
        Filter(min_rating=1500, max_rating=1000)
    assert len(SPEEDS) == 6


@pytest.mark.parametrize(
    ("text", "value"), [("1500", 1500), ("1500?", 1500), ("1500.0", 1500), ("?", None), ("0", None)]
)
def test_ratings_as_people_write_them(text: str, value: int | None) -> None:
    assert rating(text) == value


def test_numbers_without_end_are_none(tmp_path: Path) -> None:
    """Python refuses to read an int of so many digits."""
    digits = 5000 * "9"
    assert (speed(digits), speed(f"1+{digits}"), rating(digits)) == ("", "", None)
    (tmp_path / "games.csv").write_text(f"moves,increment_code\ne4,{digits}+0\nd4,10+0\n")
    games, _ = load(tmp_path / "games.csv", Filter(speeds=("rapid",)))
    assert [game.moves for game in games] == [("d2d4",)]


def test_what_was_skipped_is_not_counted(tmp_path: Path) -> None:
    path = pgn(tmp_path, TEXT)
    report = Report()
    assert list(read([path], Filter(), report, skip=25)) == GAMES[25:]
    assert report.read == 5
    assert len(list(records(path))) == len(GAMES)
