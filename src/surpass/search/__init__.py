"""Searches by name: each one function in one file, a conversation (`core.Search`)."""

from __future__ import annotations

SEARCHES: dict[str, str] = {
    "sampling": "surpass.search.sampling:sample",
    "best_first": "surpass.search.best_first:best_first",
    "beam": "surpass.search.beam:beam",
    "mcts": "surpass.search.mcts:mcts",
    "whole": "surpass.search.whole:whole",
    "refine": "surpass.search.refine:refine",
    "local": "surpass.search.local:local_search",
    "diverse": "surpass.search.diverse:diverse",
}
