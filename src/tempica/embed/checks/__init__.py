"""Bias tests: what the embedding finds where it must find nothing."""
