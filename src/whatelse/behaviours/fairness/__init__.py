"""How outcomes differ between groups."""
