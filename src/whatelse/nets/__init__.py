"""Small reference networks, how they are built from settings, trained, saved and read back."""
