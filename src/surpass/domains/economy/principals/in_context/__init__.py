"""The in-context policymaker: its text, its network, what it learned from, and its use as a principal."""
