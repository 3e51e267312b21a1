"""Societies of agents under a policy: commons dilemmas, their simulators, and policies as actions."""
