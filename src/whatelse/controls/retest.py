"""The baseline measured again with other random numbers: the floor of measuring.

Source:
    Reliability by test and retest: Bland & Altman, Lancet 1986.
"""

VERSION, ROLE = 1, "retest"
# Whose recipe it continues, and how far the seeds of all its steps, and of its own ones, lie from the study's.
AFTER, WHOLE_SEED, OWN_SEED, AGAIN = "baseline", 0, 0, 1
# Its recipe: one of the study, the candidate's own, or none; how it is called; whose shadow models serve it.
RECIPE, NAMED, SHADOWS = "study", "retest", "baseline"
# What it is held against itself; whether candidates are too in every primary question; whether an audit is given one.
HELD, ALSO, HANDED = "baseline", False, False
