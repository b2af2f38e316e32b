"""What a report shows beside its numbers."""
