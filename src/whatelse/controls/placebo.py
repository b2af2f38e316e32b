"""The baseline given the same extra training as a candidate, and no compression.

Source:
    Design of controlled trials; of retraining after pruning: Renda et al., ICLR 2020, arXiv:2003.02389.
"""

VERSION, ROLE = 1, "placebo"
# Whose recipe it continues, and how far the seeds of all its steps, and of its own ones, lie from the study's.
AFTER, WHOLE_SEED, OWN_SEED, AGAIN = "baseline", 0, 0, 0
# Its recipe: one of the study, the candidate's own, or none; how it is called; whose shadow models serve it.
RECIPE, NAMED, SHADOWS = "study", "placebo", "own"
# What it is held against itself; whether candidates are too in every primary question; whether an audit is given one.
HELD, ALSO, HANDED = "baseline", False, True
