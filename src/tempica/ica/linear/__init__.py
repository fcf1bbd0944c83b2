"""Linear estimators, and the number of sources."""
