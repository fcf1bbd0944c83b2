"""Smoothing of unmixed sources in time."""
