"""The layers that compression puts in place of torch's own, found by their path as items are."""
