"""Where results are kept and found again."""
