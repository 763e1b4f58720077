"""One file per plugin of the body-based router, under upstream's type names."""
