"""Searches for inputs that fool a model: below the behaviors that report them."""
