"""Ways to make a model smaller. One file is one method; `whatelse.registry` finds it by its path."""
