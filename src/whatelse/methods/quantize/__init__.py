"""Store weights and activations in fewer bits."""
