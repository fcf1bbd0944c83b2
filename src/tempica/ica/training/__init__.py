"""One training loop, its restarts and networks."""
