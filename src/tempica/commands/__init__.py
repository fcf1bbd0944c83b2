"""What the command line can be told, a module a family of commands; `tempica.cli` puts them together."""
