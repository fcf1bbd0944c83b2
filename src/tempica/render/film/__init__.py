"""Movies of a scanning probe: flattened, with molecules found, followed and cropped."""
