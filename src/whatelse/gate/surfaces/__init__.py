"""What a decision is written as and printed as: one file a surface."""
