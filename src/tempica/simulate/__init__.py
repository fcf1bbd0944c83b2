"""Room: a molecule moves along known degrees of freedom. Makes trajectory.zarr and ensemble.zarr."""
