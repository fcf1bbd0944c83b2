"""Metrics over arrays, one function each, with the nulls and the interval that they must be read with."""

from tempica.evaluate.metrics.arrays import Kind
from tempica.evaluate.metrics.chance import correlation_time, null_frames
from tempica.evaluate.metrics.disentanglement import dci, sap
from tempica.evaluate.metrics.explained import angle_error, r2
from tempica.evaluate.metrics.information import infomec, mig
from tempica.evaluate.metrics.matching import assign
from tempica.evaluate.metrics.mcc import MCC, correlation_matrix, mcc
from tempica.evaluate.metrics.measuring import Measured
from tempica.evaluate.metrics.monotone import monotone_mcc
from tempica.evaluate.metrics.neighbours import information_imbalance, neighbourhood_similarity

__all__ = [
    "MCC",
    "Kind",
    "Measured",
    "angle_error",
    "assign",
    "correlation_matrix",
    "correlation_time",
    "dci",
    "infomec",
    "information_imbalance",
    "mcc",
    "mig",
    "monotone_mcc",
    "neighbourhood_similarity",
    "null_frames",
    "r2",
    "sap",
]
