"""Generative estimators: iVAE, SlowVAE, SNICA, HM-NLICA."""
