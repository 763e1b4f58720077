"""One file per picker. They do not know each other."""
