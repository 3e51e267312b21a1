"""One process of several that train together: it takes a step and saves what it met, for `test_trl.py` to compare.

Started by `python -m torch.distributed.run --nproc-per-node N -m tests.integrations.across MODEL OUT`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from tests.integrations.test_trl import LastStep, partly, trainer


def main(model: str, out: Path) -> None:
    """Train one step on a group that no process holds alone."""
    last = LastStep()
    settings = {"num_generations": 16, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    made = trainer(model, out, partly, beta=0.5, max_steps=1, max_grad_norm=0.0, ddp_backend="gloo", **settings)
    made.add_callback(last)
    made.train()
    names = ("group", "prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    met = [{name: part[name] for name in names} for part in made._buffered_inputs]
    found = {"gradient": last.gradient, "met": met, "processes": made.accelerator.num_processes}
    torch.save(found, out / f"{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
