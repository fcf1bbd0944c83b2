"""Room: trajectory to images of a camera. Makes movie.zarr."""
