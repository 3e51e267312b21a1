from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.domains.proofs.rocq.corpus import FORMAT, load, problems
from surpass.errors import ConfigError, DataError

SPLITS = ("train", "valid", "test")


def write(folder: Path, files: dict[str, list[tuple[str, int]]]) -> Path:
    """A corpus whose files hold lemmas given as (initial goals, sentences in the human proof)."""
    folder.joinpath("files").mkdir(parents=True, exist_ok=True)
    for top, lemmas in files.items():
        header: dict[str, Any] = {"format": FORMAT, "lemmas": len(lemmas)}
        header |= {"file": f"/lib/{top}.v", "top": top, "noinit": False, "options": []}
        records = [
            {"key": f"{top}.l{i}", "position": i, "goals": goals, "solution": ["auto."] * n, "steps": [goals] * n}
            for i, (goals, n) in enumerate(lemmas)
        ]
        lines = [json.dumps(line) for line in (header, *records)]
        folder.joinpath("files", f"{top}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write(
        tmp_path, {f"Lib.D{d}.F{f}": [(f"goal {d} {f} {i // 2}", i) for i in range(60)] for d in "ab" for f in "12"}
    )


def keys(corpus: Path, split: str, **options: Any) -> list[str]:
    return [problem.key for problem in problems(corpus, split, **options)]


def test_a_problem_carries_the_record_and_its_file(corpus: Path) -> None:
    first = load(corpus)[0]
    assert (first.key, first.group) == ("Lib.Da.F1.l0", "/lib/Lib.Da.F1.v")
    assert first.data["top"] == "Lib.Da.F1"
    assert first.data["options"] == []
    assert pickle.loads(pickle.dumps(first)) == first


def test_duplicate_goals_leave_before_the_split(corpus: Path) -> None:
    assert len(load(corpus)) == 240
    kept = problems(corpus, "all")
    assert len(kept) == 120 == len({problem.data["goals"] for problem in kept})
    assert all(int(problem.key.rpartition("l")[2]) % 2 == 0 for problem in kept), "the first of each is kept"


def test_lemmas_split_into_a_deterministic_partition(corpus: Path) -> None:
    shares = [keys(corpus, split, seed=7) for split in SPLITS]
    assert sorted(key for share in shares for key in share) == sorted(keys(corpus, "all"))
    assert shares == [keys(corpus, split, seed=7) for split in SPLITS]


def test_a_file_lies_in_one_split(tmp_path: Path) -> None:
    corpus = write(tmp_path, {f"Lib.F{i}": [(f"goal {i} {j}", 1) for j in range(3)] for i in range(60)})
    shares = [keys(corpus, split, by="file") for split in SPLITS]
    files = [{key.rpartition(".")[0] for key in share} for share in shares]
    assert sum(map(len, files)) == len(files[0] | files[1] | files[2]) == 60
    assert [len(share) for share in shares] == [3 * len(f) for f in files]


def test_shares_are_eight_one_one_and_depend_on_the_seed(tmp_path: Path) -> None:
    corpus = write(tmp_path, {"Lib.Big": [(f"goal {i}", 1) for i in range(4000)]})
    sizes = [len(keys(corpus, split)) for split in SPLITS]
    assert sum(sizes) == 4000
    assert abs(sizes[0] - 3200) < 120  # 4.7 standard deviations
    assert abs(sizes[1] - 400) < 90
    assert keys(corpus, "test", seed=0) != keys(corpus, "test", seed=1)


def test_new_files_and_filters_move_no_problem(corpus: Path) -> None:
    before = set(keys(corpus, "test"))
    assert set(keys(corpus, "test", max_sentences=30)) < before
    write(corpus, {"Lib.New": [("another goal", 1)]})
    assert before <= set(keys(corpus, "test"))


def test_filters(corpus: Path) -> None:
    assert {len(p.data["solution"]) for p in problems(corpus, "all", max_sentences=4)} == {0, 2, 4}
    assert len(keys(corpus, "all", max_chars=len("goal a 1 9"))) == 4 * 10
    assert {key.rpartition(".")[0] for key in keys(corpus, "all", within=["Lib.Da", "Lib.Db.F2"])} == {
        "Lib.Da.F1",
        "Lib.Da.F2",
        "Lib.Db.F2",
    }
    with pytest.raises(DataError, match="loosen them"):
        keys(corpus, "all", within=["Lib.D"])


def test_errors_say_what_to_do(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train, valid, test, all.*'dev'"):
        problems(corpus, "dev")
    with pytest.raises(ConfigError, match="by='file'"):
        problems(corpus, "train", by="line")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="surpass proofs extract --library stdlib --out"):
        load(tmp_path / "nowhere")


@given(
    damage=st.sampled_from(["", "{", "[]\n", '{"format": 1}\n', '{"format": 0, "lemmas": 0}\n', "null\n3\n", "\x00"])
)
def test_a_damaged_file_is_named(damage: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    corpus = write(tmp_path_factory.mktemp("corpus"), {"Lib.A": [("g", 1)], "Lib.B": [("h", 1)]})
    corpus.joinpath("files", "Lib.B.jsonl").write_text(damage, encoding="utf-8")
    with pytest.raises(DataError, match=r"Lib\.B\.jsonl.*delete that file"):
        load(corpus)


def test_a_truncated_file_is_noticed(corpus: Path) -> None:
    file = corpus / "files" / "Lib.Da.F1.jsonl"
    file.write_text("".join(file.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    with pytest.raises(DataError, match="59 lemmas where its first line says 60"):
        load(corpus)
