"""Poses: searched, followed from frame to frame, and their posterior."""
