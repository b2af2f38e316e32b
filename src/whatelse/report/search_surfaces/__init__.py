"""What a search came to, for people and for machines: one file each."""
