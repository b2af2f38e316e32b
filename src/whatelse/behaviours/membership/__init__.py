"""Whether the model gives away what it was trained on."""
