"""Puzzles with many solutions, all of which can be listed: Game of 24, BlocksWorld, deduction from stated rules."""
