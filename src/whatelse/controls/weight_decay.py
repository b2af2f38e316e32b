"""The baseline trained with plain regularization: what any regularizer does.

Source:
    Krogh & Hertz, A simple weight decay can improve generalization, NeurIPS 1991.
"""

VERSION, ROLE = 1, "control"
# Whose recipe it continues, and how far the seeds of all its steps, and of its own ones, lie from the study's.
AFTER, WHOLE_SEED, OWN_SEED, AGAIN = "baseline", 0, 0, 0
# Its recipe: one of the study, the candidate's own, or none; how it is called; whose shadow models serve it.
RECIPE, NAMED, SHADOWS = "study", "weight decay", "own"
# What it is held against itself; whether candidates are too in every primary question; whether an audit is given one.
HELD, ALSO, HANDED = "baseline", True, False
