"""One file per profile handler. They do not know each other."""
