"""Lean 4 as a domain, through the official REPL. Developed without Lean: see README.md for what that leaves open."""
