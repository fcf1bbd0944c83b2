"""Time-resolved single-particle simulation and temporal ICA."""

__version__ = "0.1.0"
