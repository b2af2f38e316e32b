"""Propose recipes under budgets."""
