"""Scores against a known truth, with the null and the interval that they must be read with."""

from tempica.evaluate.metrics import MCC, mcc

__all__ = ["MCC", "mcc"]
