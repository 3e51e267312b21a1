from __future__ import annotations

from pathlib import Path
from threading import Event, Thread

from surpass.experiments.proof_flow import PRESETS
from surpass.experiments.proof_flow_arms import stage, tell


def test_a_stage_can_be_read_at_any_moment(tmp_path: Path) -> None:
    tell(tmp_path, 0, "done")
    over = Event()

    def write() -> None:
        while not over.is_set():
            tell(tmp_path, 0, "done")

    writer = Thread(target=write)
    writer.start()
    try:
        assert all(stage(PRESETS["tiny"], tmp_path, 0)[0] == "done" for _ in range(1000))
    finally:
        over.set()
        writer.join()
