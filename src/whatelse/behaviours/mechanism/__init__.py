"""What goes on inside the model."""
