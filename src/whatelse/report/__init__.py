"""What a person reads: a page, a table, a model card, made from findings and nothing else."""
