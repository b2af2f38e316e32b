"""Teach a smaller model what a larger one knows."""
