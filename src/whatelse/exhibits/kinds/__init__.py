"""Exhibits, one file a kind: a new file is a new one."""
