"""Contrastive estimators: PCL, TCL, GCL."""
