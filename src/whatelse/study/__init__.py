"""A grid of recipes, behaviours and seeds: planned, run, stored, resumed and analyzed."""
