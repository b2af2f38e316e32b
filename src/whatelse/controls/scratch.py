"""The candidate's own architecture trained from random weights.

Source:
    Liu et al., Rethinking the value of network pruning, ICLR 2019, arXiv:1810.05270.
"""

VERSION, ROLE = 1, "scratch"
# Whose recipe it continues, and how far the seeds of all its steps, and of its own ones, lie from the study's.
AFTER, WHOLE_SEED, OWN_SEED, AGAIN = "candidate", 0, 0, 0
# Its recipe: one of the study, the candidate's own, or none; how it is called; whose shadow models serve it.
RECIPE, NAMED, SHADOWS = "study", "{candidate} from scratch", ""
# What it is held against itself; whether candidates are too in every primary question; whether an audit is given one.
HELD, ALSO, HANDED = "", False, False
