from __future__ import annotations

import pytest

from surpass import cli
from surpass.bench import BENCHES
from surpass.commands import LIBRARY
from surpass.experiments import EXPERIMENTS


@pytest.mark.parametrize(
    "words",
    [
        *(name.split() for name in LIBRARY),
        *(["bench", name] for name in BENCHES),
        *(["run", name] for name in EXPERIMENTS),
    ],
    ids=" ".join,
)
def test_every_command_explains_its_options(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([*words, "--help"])
    assert left.value.code == 0
    assert "--" in capsys.readouterr().out
