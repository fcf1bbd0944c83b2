"""The run folder: its stages, its locks, and the work in it."""
