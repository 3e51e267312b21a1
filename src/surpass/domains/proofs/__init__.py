"""Proof assistants as domains: Rocq, and an embedded kernel of propositional logic."""
