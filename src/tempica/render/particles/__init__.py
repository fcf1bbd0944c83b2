"""Images of another program."""
