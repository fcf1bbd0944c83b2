"""Room: images to posteriors of a low-dimensional latent per frame. Makes latents.zarr; never sees the truth."""
