"""Domains by name. A new domain is one folder and one line in `DOMAINS`."""

from __future__ import annotations

DOMAINS: dict[str, str] = {
    "blocksworld": "surpass.domains.puzzles.blocksworld:BlocksWorld",
    "chess": "surpass.domains.chess.domain:Chess",
    "economy": "surpass.domains.economy.domain:Policymaking",
    "game24": "surpass.domains.puzzles.game24:Game24",
    "kernel": "surpass.domains.proofs.kernel.domain:Kernel",
    "lean": "surpass.domains.proofs.lean.domain:Lean",
    "prontoqa": "surpass.domains.puzzles.prontoqa:ProntoQA",
    "rocq": "surpass.domains.proofs.rocq.domain:Rocq",
}
