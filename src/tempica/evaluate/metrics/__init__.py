"""Metrics over arrays, one function each, with the nulls and the interval that they must be read with."""

from tempica.evaluate.metrics.arrays import Kind
from tempica.evaluate.metrics.chance import correlation_time, null_frames
from tempica.evaluate.metrics.matching import assign
from tempica.evaluate.metrics.mcc import MCC, correlation_matrix, mcc

__all__ = ["MCC", "Kind", "assign", "correlation_matrix", "correlation_time", "mcc", "null_frames"]
