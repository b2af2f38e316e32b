"""Training steps, for recipes and for controls."""
