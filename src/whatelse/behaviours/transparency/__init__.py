"""How well the model can be replaced by one that a person can read."""
