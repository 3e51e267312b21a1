"""Domains by name. A new domain is one folder and one line in `DOMAINS`."""

from __future__ import annotations

DOMAINS: dict[str, str] = {
    "kernel": "surpass.domains.proofs.kernel.domain:Kernel",
    "rocq": "surpass.domains.proofs.rocq.domain:Rocq",
}
