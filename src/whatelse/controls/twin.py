"""The baseline's recipe under another seed: what retraining alone does to a number.

Source:
    D'Amour et al., Underspecification presents challenges for credibility, arXiv:2011.03395.
"""

VERSION, ROLE = 1, "twin"
# Whose recipe it continues, and how far the seeds of all its steps, and of its own ones, lie from the study's.
AFTER, WHOLE_SEED, OWN_SEED, AGAIN = "baseline", 10_000, 0, 0
# Its recipe: one of the study, the candidate's own, or none; how it is called; whose shadow models serve it.
RECIPE, NAMED, SHADOWS = "study", "twin", "baseline"
# What it is held against itself; whether candidates are too in every primary question; whether an audit is given one.
HELD, ALSO, HANDED = "baseline", True, True
