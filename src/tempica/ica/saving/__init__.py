"""Estimators on disk."""
