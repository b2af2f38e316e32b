"""What findings are written as and printed as: one file a surface."""
