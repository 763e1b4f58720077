"""One file per filter. They do not know each other."""
