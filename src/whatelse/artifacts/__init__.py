"""Compressed models as folders: made, written, proven, reopened."""
