"""Which parts of an input the model's decision rests on."""
