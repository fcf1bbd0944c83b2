"""Trajectories of other programs."""
