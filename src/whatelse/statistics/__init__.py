"""Paired effects, their intervals, verdicts, multiplicity and power: arrays in, numbers out."""
