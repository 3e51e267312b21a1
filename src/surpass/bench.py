"""Benchmarks by name: what `surpass bench NAME` measures, each against a baseline in the same run.

A module named here offers `BenchConfig`, a frozen dataclass of flags with `json: Path | None`, and `main(config)`,
whose answer has `.table()`; it writes the printed figures to `json`.
"""

from __future__ import annotations

BENCHES: dict[str, str] = {
    "economy": "surpass.domains.economy.bench",
    "proofs": "surpass.domains.proofs.rocq.bench",
    "soak": "surpass.domains.proofs.rocq.soak",
    "gradients": "surpass.objectives.bench",
    "objectives": "surpass.audits.bench",
    "free_text": "surpass.audits.elsewhere",
    "search": "surpass.search.bench",
    "trl": "surpass.integrations.bench",
    "arena": "surpass.domains.chess.bench",
    "pretrain": "surpass.domains.chess.pretrain_bench",
}
