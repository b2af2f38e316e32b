"""How networks are trained, and what only training needs."""
