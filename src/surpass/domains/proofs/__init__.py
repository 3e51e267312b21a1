"""Proof assistants as domains: Rocq, Lean 4, and an embedded kernel of propositional logic."""
