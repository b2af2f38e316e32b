"""Modules as data: walked, traced, written, rebuilt, cut."""
