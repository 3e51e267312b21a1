"""Our own trouble, raised; a policy's mistakes are Verdicts and never come here.

SurpassError                 the root: the command line prints it as one message and exits with 2
├── ConfigError              a command, preset or field that cannot be used        (also ValueError)
├── DataError                a file, split or run folder that cannot be read        (also ValueError)
├── ModelError               a checkpoint, tokenizer or endpoint that cannot serve  (also RuntimeError)
└── VerifierError            a prover, engine or simulator that cannot be driven    (also RuntimeError)

A message says what was expected, what was found, and what to do.
"""

from __future__ import annotations


class SurpassError(Exception):
    """Root of all errors raised by this package."""


class ConfigError(SurpassError, ValueError):
    """A command, preset or field that cannot be used."""


class DataError(SurpassError, ValueError):
    """A file, split or run folder that cannot be read, or does not hold what it must."""


class ModelError(SurpassError, RuntimeError):
    """A checkpoint, tokenizer or endpoint that cannot serve."""


class VerifierError(SurpassError, RuntimeError):
    """A prover, engine or simulator that cannot be started or driven."""
