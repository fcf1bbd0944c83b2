"""Design of experiments: what a recipe needs, foreseen from short runs and the images' information."""
