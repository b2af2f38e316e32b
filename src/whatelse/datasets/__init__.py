"""The doors for tasks: each item returns a Task."""
