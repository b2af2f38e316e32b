"""What the model costs: parameters, bytes, arithmetic, time."""
