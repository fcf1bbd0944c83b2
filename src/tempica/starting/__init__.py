"""From nothing but a file to a recipe that runs, and what a run will take."""
