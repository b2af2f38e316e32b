"""The record of what was found: written and read by the same classes."""
