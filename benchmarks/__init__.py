"""How fast pottery is: as ratios to hand-written redis-py, measured side by side in one run."""
