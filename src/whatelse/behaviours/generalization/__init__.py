"""How well the model predicts what it was not fitted on."""
