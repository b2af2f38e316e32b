"""The architecture with random weights: the end of the way down.

Source:
    Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018, arXiv:1810.03292.
"""

VERSION, ROLE = 1, "random"
# Whose recipe it continues, and how far the seeds of all its steps, and of its own ones, lie from the study's.
AFTER, WHOLE_SEED, OWN_SEED, AGAIN = "baseline", 0, 0, 0
# Its recipe: one of the study, the candidate's own, or none; how it is called; whose shadow models serve it.
RECIPE, NAMED, SHADOWS = "study", "random", "own"
# What it is held against itself; whether candidates are too in every primary question; whether an audit is given one.
HELD, ALSO, HANDED = "baseline", False, False
