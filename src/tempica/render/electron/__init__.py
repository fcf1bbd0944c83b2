"""The electron microscope."""
