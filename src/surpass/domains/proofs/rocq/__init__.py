"""Rocq (Coq) through its own toplevel for machines, `coqidetop.opt`."""
