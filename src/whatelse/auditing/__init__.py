"""Questions to models, their answers, effects and verdicts. It knows of no grid of recipes."""
