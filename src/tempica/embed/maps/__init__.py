"""Molecules from maps: consensus maps and back-projections of images."""
