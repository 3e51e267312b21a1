"""Policies: language models, tables, fixed lists, neighbours, mixtures and fakes."""
