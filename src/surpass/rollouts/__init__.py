"""The runner and its workers: batching, processes, budgets, seeds and traces, once, for every search."""
