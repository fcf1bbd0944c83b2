"""What moves: bases of displacements, and models of their amplitudes learned from images."""
