"""Replace layers by products of smaller ones."""
