"""What clients say to a simulated server and what they get back, one file per family of routes."""
