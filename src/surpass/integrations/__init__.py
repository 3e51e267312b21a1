"""Surpass inside other libraries: one module each, importing that library, imported by nothing else of ours."""
