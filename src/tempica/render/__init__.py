"""Room: a camera photographs the trajectory. Makes movie.zarr."""
