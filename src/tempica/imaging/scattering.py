"""How strongly atoms scatter electrons."""

from __future__ import annotations

# F(0) in Å of the electron scattering factors of Peng et al., Acta Cryst. A52, 257 (1996)
SCATTERING_LENGTH_A = {"H": 0.5288, "C": 2.5088, "N": 2.2135, "O": 1.9834, "S": 5.1604}
