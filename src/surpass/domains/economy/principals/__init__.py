"""Policymakers, all under one interface: see `principal.py`."""
