"""Where jobs run: in worker processes here, or on a Ray cluster."""
