"""The command line: exit codes, one message for each kind of trouble, and what a run is started with.

This module is also the experiment that it runs: `Config`, `PRESETS` and `main`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from surpass import cli
from surpass.errors import ConfigError, DataError
from surpass.experiments import EXPERIMENTS


@dataclass(frozen=True, slots=True)
class Config:
    """A toy."""

    steps: int = 3  # how many
    arms: tuple[str, ...] = ("base", "gfn")  # which
    corpus: Path | None = None  # where
    fail: str = ""  # how to end

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"expected steps >= 0, found {self.steps}")


PRESETS = {"tiny": Config(1), "small": Config()}


def main(config: Config, *, out: Path | None, resume: Path | None) -> Path:
    folder = out or resume
    assert folder is not None
    troubles = {"interrupt": KeyboardInterrupt(), "data": DataError("no <b>such</b> [bold]split"), "bug": KeyError("x")}
    if config.fail == "early":
        raise KeyboardInterrupt
    (folder / "config.json").write_text(json.dumps(asdict(config), default=str))
    for name in config.arms[: config.steps if config.fail else 0]:
        (folder / name).touch()
    if config.fail:
        raise troubles[config.fail]
    return folder


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(EXPERIMENTS, "toy", __name__)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SURPASS_TRACEBACK", raising=False)


def stored(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "config.json").read_text()))


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from surpass import cli; assert cli.main(['--help']) == 0; "
        "print(sorted({'torch', 'transformers', 'numpy', 'plotly'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(command.split()[0] in done.stdout for command in cli.COMMANDS)


def test_a_run_takes_its_preset_then_its_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--preset", "tiny", "--arms", "sft", "--out", str(tmp_path / "r")]
    assert cli.main(["run", "toy", *flags]) == 0
    assert stored(tmp_path / "r") == {"steps": 1, "arms": ["sft"], "corpus": None, "fail": ""}
    assert str(tmp_path / "r") in capsys.readouterr().out


def test_the_default_preset_and_folder(tmp_path: Path) -> None:
    assert cli.main(["run", "toy", "--steps=7"]) == 0
    [folder] = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("toy-small-")
    assert stored(folder)["steps"] == 7


def test_help_shows_the_values_of_the_preset(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["run", "toy", "--preset=tiny", "--help"])
    assert stopped.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "how many (default: 1)" in told
    assert "--resume" in told


def test_resume_keeps_the_configuration_of_the_run(tmp_path: Path) -> None:
    first = tmp_path / "r"
    chosen = ["--steps", "5", "--arms", "a", "b", "--corpus", "some/where"]
    assert cli.main(["run", "toy", *chosen, "--out", str(first)]) == 0
    before = stored(first)
    experiment = sys.modules[__name__]
    _, config = cli.parse_run("toy", experiment, ["--resume", str(first)])
    assert config == Config(5, ("a", "b"), Path("some/where"))
    assert cli.main(["run", "toy", "--resume", str(first)]) == 0
    assert stored(first) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rum"], "did you mean 'run'?"),
        (["proofs", "extrat"], "did you mean 'proofs extract'?"),
        (["run", "toi"], "did you mean 'toy'?"),
        (["run", "toy", "--preset", "tyni"], "did you mean 'tiny'?"),
        (["run", "toy", "--preset"], "--preset"),
        (["run", "toy", "--steps", "-1"], "expected steps >= 0, found -1; see surpass run toy --help"),
        (["run", "toy", "--resume", "nowhere"], "nowhere"),
        (["run", "toy", "--resume", __file__], "the folder of a run"),
        (["run", "toy", "--fail", "data"], "no <b>such</b> [bold]split"),
        (["verify", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("surpass: ")
    assert told in error
    assert "Traceback" not in error


@pytest.mark.parametrize("arguments", [["run", "toy", "--stesp", "3"], ["run", "toy", "--steps", "x"], ["report"]])
def test_bad_flags_are_explained_with_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    told = capsys.readouterr()
    assert "--steps" in told.out + told.err or arguments == ["report"]
    assert "--help" in told.out + told.err


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "precious").write_text("mine")
    assert cli.main(["run", "toy", "--out", "r"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["precious"]
    assert cli.main(["run", "toy", "--out", "r", "--resume", "r"]) == 2


WHOLE: dict[str, object] = {"steps": 3, "arms": ["a"], "corpus": None, "fail": ""}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe" * 1000, "is not JSON"),
        (b"[]", "expected a JSON object, found list"),
        (b'{"steps": 3}', "expected the setting arms of toy, found none"),
        (WHOLE | {"steps": "x"}, "steps: expected int, found 'x'"),
        (WHOLE | {"arms": ["a", 1]}, "arms: expected str, found 1"),
        (WHOLE | {"steps": -1}, "expected steps >= 0, found -1"),
        (WHOLE | {"experiment": "other"}, "expected a run of toy, found one of other"),
    ],
)
def test_a_corrupt_run_folder_is_not_resumed(
    tmp_path: Path, content: bytes | dict[str, object], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "config.json").write_bytes(raw)
    assert cli.main(["run", "toy", "--resume", "r"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("surpass: r/config.json")
    assert told in error
    assert len(error) < 200
    assert "Error" not in error
    assert (tmp_path / "r" / "config.json").read_bytes() == raw


def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "runs").mkdir()
    for fail, code in (("data", 2), ("early", 130)):
        assert cli.main(["run", "toy", "--fail", fail, "--steps", "0"]) == code
        assert cli.main(["run", "toy", "--fail", fail, "--steps", "0", "--out", "new"]) == code
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "runs"]
    assert cli.main(["run", "toy", "--fail", "data", "--steps", "0", "--out", "mine"]) == 2
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["config.json"]  # the folder was there before
    assert cli.main(["run", "toy", "--fail", "data", "--steps", "1", "--out", "worked"]) == 2
    assert sorted(path.name for path in (tmp_path / "worked").iterdir()) == ["base", "config.json"]


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "now")
    for _ in range(3):
        assert cli.main(["run", "toy"]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        f"toy-small-now{n}" for n in ("", "-2", "-3")
    ]


def test_an_interrupt_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "toy", "--fail", "interrupt", "--out", "r"]) == 130
    assert "surpass run toy --resume r" in capsys.readouterr().err


def test_a_bug_leaves_its_traceback_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cli.main(["run", "toy", "--fail", "bug"]) == 1
    error = capsys.readouterr().err
    assert "KeyError" in error
    assert "Traceback" not in error
    [log] = tmp_path.glob("surpass-*.txt")
    assert str(log) in error
    assert "Traceback" in log.read_text()
    monkeypatch.setenv("SURPASS_TRACEBACK", "1")
    with pytest.raises(KeyError):
        cli.main(["run", "toy", "--fail", "bug"])


def test_unknown_names_what_there_is() -> None:
    assert cli.unknown("thing", "zzz", ["a", "b"]) == "unknown thing 'zzz'. There are: a, b"
    with pytest.raises(ConfigError, match="unknown command"):
        cli.choose(["zzz", "--help"])


@pytest.mark.parametrize("words", ["--help", "--version"])  # by rich, and by print
def test_a_closed_pipe_is_no_trouble(words: str) -> None:
    command = f"{sys.executable} -m surpass.cli {words} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("141\n", "")


@pytest.mark.rocq
def test_prove_tries_every_file_and_says_which_it_could_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Good.v").write_text("Lemma easy : forall n : nat, n = n. Proof. Admitted.\n")
    (tmp_path / "Refused.v").write_text("Lemma x : no_such_thing. Proof. Admitted.\n")
    assert cli.main(["prove", "Good.v", "--seconds", "20"]) == 0
    assert "1 of 1 open lemmas proved" in capsys.readouterr().out
    assert "Admitted" in (tmp_path / "Good.v").read_text()
    assert cli.main(["prove", "Missing.v", str(tmp_path), "--write"]) == 2
    told = capsys.readouterr()
    assert "Missing.v" in told.err
    assert "no_such_thing" in " ".join(told.out.split())
    assert "1 of 1 open lemmas proved in 3 files" in told.out
    assert "auto." in (tmp_path / "Good.v").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [([], "say surpass prove FILE"), (["empty"], "folder empty"), (["d.v"], "folder d.v"), (["a.txt"], "found a.txt")],
)
def test_prove_needs_sources(words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("empty/.hidden", "d.v"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "empty" / ".hidden" / "A.v").touch()
    (tmp_path / "a.txt").touch()
    assert cli.main(["prove", *words]) == 2
    error = capsys.readouterr().err
    assert "expected .v or .lean files" in error
    assert told in error


def test_a_file_that_is_named_twice_is_proved_once(tmp_path: Path) -> None:
    (tmp_path / "A.v").touch()
    (tmp_path / "B.v").symlink_to("A.v")
    assert cli.sources([Path("A.v"), tmp_path, Path("B.v")]) == [Path("A.v")]


def test_prove_needs_a_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r").mkdir()
    troubles = {"--run=nowhere": "run folder", "--run=r": "surpass.json", "--no-automation": "--run DIR"}
    for flag, told in troubles.items():
        assert cli.main(["prove", "Any.v", flag]) == 2
        assert told in capsys.readouterr().err
