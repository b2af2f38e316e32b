"""Models that candidates are held against, so that compression alone is judged: one file each, found by path."""
