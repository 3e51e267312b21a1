"""The script of the how-to page runs, offline, on a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs the extra [trl]: pip install 'surpass[trl]'")

from transformers import AutoTokenizer

from tests.integrations import tiny
from tests.test_readme import ROOT, blocks

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
SMALLER = {
    '"HuggingFaceTB/SmolLM2-135M-Instruct"': "MODEL_FOLDER",
    "max_steps=300": "max_steps=2, use_cpu=True, report_to='none', disable_tqdm=True",
    "=32": "=8",
}


def test_the_script_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CI", "1")  # TRL counts its users, but not in tests
    folder = tiny.save(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    code, other = blocks(ROOT / "docs" / "howto-gflownet.md", "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    for long, short in SMALLER.items():
        assert long in code
        code = code.replace(long, short)
    names: dict[str, Any] = {"MODEL_FOLDER": folder}
    exec(compile(code, "howto-gflownet.md", "exec"), names)
    exec(compile(other, "howto-gflownet.md", "exec"), {})
    assert names["trainer"].state.global_step == 2
    assert (tmp_path / "sevens" / "adapter_model.safetensors").is_file()
    said = [[{"role": "assistant", "content": text}] for text in ("14", "98 ", "105", "0", "fourteen", "²")]
    assert names["log_reward"](said) == [0.0, 0.0, -6.0, -6.0, -6.0, -6.0]
