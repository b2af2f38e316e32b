"""The candidate compressed once more from the same baseline under another seed: the floor of compressing.

Source:
    As of retraining: D'Amour et al., arXiv:2011.03395.
"""

VERSION, ROLE = 1, "recompressed"
# Whose recipe it continues, and how far the seeds of all its steps, and of its own ones, lie from the study's.
AFTER, WHOLE_SEED, OWN_SEED, AGAIN = "candidate", 0, 30_000, 0
# Its recipe: one of the study, the candidate's own, or none; how it is called; whose shadow models serve it.
RECIPE, NAMED, SHADOWS = "candidate", "{candidate} recompressed", "candidate"
# What it is held against itself; whether candidates are too in every primary question; whether an audit is given one.
HELD, ALSO, HANDED = "candidate", False, True
