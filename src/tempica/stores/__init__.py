"""Stores of a run: their schema, how they are made, opened and checked."""
