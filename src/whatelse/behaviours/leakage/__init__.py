"""Whether gradients give away the examples that they were computed on."""
