"""The atomic force microscope."""
