"""What the doctor finds, and that whatever is missing comes with its remedy."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from surpass import cli, doctor
from surpass.doctor import Finding, examine, show


def named(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_it_finds_the_versions_machine_and_limits() -> None:
    found = named(examine())
    assert {found[name].state for name in ("python", "torch", "transformers", "surpass", "kernel", "cores")} == {"ok"}
    assert 0 < float(found["memory"].found.split()[0]) <= psutil.virtual_memory().total / 2**30 + 0.1
    assert int(found["workers"].found.split()[0]) >= 1
    assert found["open files"].found.split()[0].isdecimal() or found["open files"].found == "unlimited"
    assert {"[chess]", "[chat]", "[ray]", "[tracking]"} <= set(found)
    assert "GPL-3.0" in found["[chess]"].remedy or found["[chess]"].state == "ok"


def test_whatever_is_missing_has_a_remedy() -> None:
    assert all(bool(one.remedy) == (one.state != "ok") for one in examine() if one.name != "GPU")


def test_rocq_is_found_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"coqidetop.opt": "", "coqc": f'case "$1" in -where) echo {tmp_path};; *) echo 8.16.1 4.13.1;; esac'}
    for name, text in texts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "user-contrib" / "Hammer").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = named(examine())
    assert found["Rocq"].state == "ok"
    assert found["Rocq"].found.startswith(f"8.16.1 ({tmp_path}/coqidetop.opt)")
    assert (found["Rocq Hammer"].state, found["Rocq mathcomp"].state) == ("ok", "optional")


def test_without_rocq_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    rocq = named(examine())["Rocq"]
    assert rocq.state == "missing"
    assert "apt-get install coq" in rocq.remedy
    assert "kernel" in rocq.remedy


@pytest.mark.parametrize("there", [True, False])
def test_stockfish_is_found_where_debian_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "GAMES", str(tmp_path / "games"))
    if there:
        (tmp_path / "games").mkdir()
        (tmp_path / "games" / "stockfish").write_text("#!/bin/sh\n")
        (tmp_path / "games" / "stockfish").chmod(0o755)
    found = named(examine())["stockfish"]
    assert found.state == ("ok" if there else "optional")
    assert there or "apt-get install stockfish" in found.remedy


def test_a_chat_model_is_told_of_without_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SURPASS_CHAT_MODEL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    found = named(examine())["chat model"]
    assert (found.state, found.found) == ("optional", "none is configured")
    assert "set SURPASS_CHAT_MODEL" in found.remedy
    monkeypatch.setenv("SURPASS_CHAT_MODEL", "llama")
    for url, state, told in (
        ("http://localhost:8000/v1", "ok", "llama at http://localhost:8000/v1, a key is set; not tried"),
        ("http://me:sk-secret@host/v1", "optional", "url: expected no user, password or query"),
    ):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        found = named(examine())["chat model"]
        assert found.state == state
        assert found.found.startswith(told)
        assert "sk-secret" not in repr(found)


def test_a_prover_that_does_not_answer_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("coqidetop.opt", "coqc"):
        (tmp_path / name).write_text("not a program")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "does not answer" in named(examine())["Rocq"].found


def test_a_missing_package_and_a_full_disk_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage("/"))(10, 10, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package"))
    found = named(examine())
    assert (found["no-such-package"].state, found["disk here"].state) == ("missing", "missing")
    assert "make setup" in found["no-such-package"].remedy


def test_the_table_shows_everything_as_it_stands() -> None:
    findings = [Finding("extras", "[chess]", "optional", "[red]absent[/red]", "pip install -e '.[chess]'")]
    page = io.StringIO()
    show(findings, Console(file=page, width=120))
    told = page.getvalue()
    assert "[chess]" in told
    assert "[red]absent[/red]" in told
    assert "[chess]: pip install -e '.[chess]'" in told


def test_json_carries_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in told} == set(named(examine()))
    assert set(told[0]) == {"part", "name", "state", "found", "remedy"}
