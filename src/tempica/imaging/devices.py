"""Where kernels can run."""

from __future__ import annotations

from tempica.errors import DataError


def check_device(device: str) -> None:
    """Raise DataError unless images can be made on a device, "cpu" or "cuda"."""
    if device not in ("cpu", "cuda"):
        raise DataError(f"device = {device!r}: images are made on the 'cpu' or on 'cuda'.")
    if device == "cuda":
        from numba import cuda

        if not cuda.is_available():
            raise DataError(
                "device = 'cuda': numba finds no CUDA GPU on this machine. Look at `numba -s`, or use --device cpu."
            )
