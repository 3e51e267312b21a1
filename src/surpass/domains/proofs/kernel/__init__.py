"""Intuitionistic propositional logic: a small kernel whose proof spaces can be enumerated."""
