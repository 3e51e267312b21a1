from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from surpass.domains.proofs.lean.loaders import lean_dojo, load
from surpass.domains.proofs.lean.place import Place, source_text
from surpass.errors import DataError

MATH = """import Mathlib.Order

/-- Documentation. -/
theorem Order.first (a : Nat) : a = a := by
  induction a with
  | zero => rfl
  | succ n ih => rfl

namespace Order
theorem second : ∀ x : Nat, x = x := by intro x; rfl
theorem third : True := trivial
end Order
"""


def traced(name: str, start: list[int], end: list[int], *tactics: str) -> dict[str, Any]:
    steps = [
        {"tactic": tactic, "annotated_tactic": [tactic, []], "state_before": "", "state_after": ""}
        for tactic in tactics
    ]
    base = {"url": "https://example.org", "commit": "0", "file_path": "Mathlib/Order.lean"}
    return base | {"full_name": name, "start": start, "end": end, "traced_tactics": steps}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "Mathlib").mkdir()
    (tmp_path / "Mathlib" / "Order.lean").write_text(MATH)
    (tmp_path / "lakefile.toml").write_text("")
    return tmp_path


def test_lean_dojo(checkout: Path) -> None:
    entries = [
        traced("Order.first", [4, 1], [7, 21], "induction a", "rfl", "rfl"),
        traced("Order.second", [10, 1], [10, 54], "intro x", "rfl"),
        traced("Order.third", [11, 1], [11, 32]),
        traced("Order.moved", [10, 1], [10, 54], "rfl"),
    ]
    (checkout / "train.json").write_text(json.dumps(entries))
    loaded = lean_dojo(checkout / "train.json", checkout)
    first, second = (Place.of(problem) for problem in loaded.problems)
    assert first.open == "/-- Documentation. -/\ntheorem Order.first (a : Nat) : a = a := by\n  sorry"
    assert (first.context, first.project) == ("import Mathlib.Order\n\n", str(checkout))
    assert second.open == "theorem second : ∀ x : Nat, x = x := by\n  sorry"
    assert second.context.endswith("namespace Order\n")
    assert loaded.problems[0].data["traced"] == ["induction a", "rfl", "rfl"]
    assert loaded.problems[0].data["split"] == "train"
    assert loaded.skipped.total() == 2
    assert json.loads(json.dumps(loaded.problems[0].data)) == loaded.problems[0].data


@pytest.mark.parametrize(
    ("record", "before"),
    [
        ({"formal_statement": "theorem a (x : ℝ) : x = x := by\n"}, "theorem a (x : ℝ) : x = x := by"),
        ({"formal_statement": "theorem a (x : ℝ) : x = x := by sorry"}, "theorem a (x : ℝ) : x = x := by"),
        ({"formal_statement": "theorem a (x : ℝ) : x = x := sorry"}, "theorem a (x : ℝ) : x = x := by"),
        ({"formal_statement": "theorem a (x : ℝ) : x = x :="}, "theorem a (x : ℝ) : x = x := by"),
        ({"formal_statement": "theorem a (x : ℝ) : x = x"}, "theorem a (x : ℝ) : x = x := by"),
    ],
)
def test_minif2f_in_its_spellings(record: dict[str, Any], before: str, tmp_path: Path) -> None:
    header = "import Mathlib\nopen Real\n"
    for text in (record | {"header": header}, {"formal_statement": f"{header}\n{record['formal_statement']}"}):
        (tmp_path / "minif2f.jsonl").write_text(json.dumps(text | {"name": "problem_1", "split": "valid"}) + "\n")
        (problem,) = load(tmp_path / "minif2f.jsonl").problems
        place = Place.of(problem)
        assert (problem.key, problem.data["split"], place.name) == ("problem_1", "valid", "a")
        assert place.open == f"{before}\n  sorry"
        assert place.context.strip() == header.strip()


def test_a_folder_of_lean_files(tmp_path: Path) -> None:
    (tmp_path / "lakefile.lean").write_text("def x : Nat := sorry\n")
    for name in ("Test", "Valid"):
        (tmp_path / f"{name}.lean").write_text("import Mathlib\n\ntheorem t : 1 = 1 := by\n  sorry\n")
    loaded = load(tmp_path)
    assert [problem.key for problem in loaded.problems] == ["Test:t", "Valid:t"]
    assert [problem.data["split"] for problem in loaded.problems] == ["test", "valid"]
    assert {problem.data["project"] for problem in loaded.problems} == {str(tmp_path)}
    assert loaded.skipped.total() == 1


def test_a_file_that_has_changed_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "A.lean"
    file.write_text("theorem t : 1 = 1 := sorry\n")
    (problem,) = load(file).problems
    assert Place.of(problem).before == "theorem t : 1 = 1 := by"
    file.write_text("theorem t : 2 = 2 := sorry\n")
    source_text.cache_clear()
    with pytest.raises(DataError, match="the file has changed"):
        Place.of(problem)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "found none"),
        ("{", "expected JSON"),
        ("3\n", "JSON objects"),
        ('{"statement": 1}\n', "formal_statement"),
        ('{"formal_statement": "def a : Nat := sorry"}\n', "theorem or lemma"),
        ('[{"traced_tactics": []}]', "lean_dojo"),
        ('{"formal_statement": "theorem a : p := by"}\n' * 2, "found twice: a"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "problems.jsonl").write_text(text)
    with pytest.raises(DataError, match=reason):
        load(tmp_path / "problems.jsonl")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected Lean source"):
        load(tmp_path / "None.lean")
    (tmp_path / "a.json").write_text('[{"traced_tactics": [{}]}]')
    with pytest.raises(DataError, match="file_path"):
        lean_dojo(tmp_path / "a.json", tmp_path)
