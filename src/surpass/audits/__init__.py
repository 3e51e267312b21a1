"""Exact audits: objectives trained on spaces that can be listed, and their distance to the target that theory names.

Reading order: `spaces.py` (what is measured), `targets.py` (fixed points), `tasks.py` and `words.py` (what is played,
by tables and by small transformers), `arms.py` (how each objective is used), `bench.py` (`surpass bench objectives`),
`rows.py` (what it reports), `elsewhere.py` (how much of a target lies on everything that is no solution, where nothing
can be listed).
"""
