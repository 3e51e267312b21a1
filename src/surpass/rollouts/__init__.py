"""The runner and its workers: batching, processes, budgets, seeds and traces, once, for every search.

`budget.py` says what asks cost, `conversation.py` keeps one search going, `workers.py` owns the processes, `trace.py`
records what was said, and `runner.py` merges what many conversations ask.
"""
