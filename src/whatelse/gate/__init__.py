"""Budgets, and the decision whether a compressed model keeps them: go, no-go or inconclusive, from findings alone."""
