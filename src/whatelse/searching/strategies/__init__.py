"""Strategies of the search, one file each."""
