"""One file per admitter. They do not know each other."""
