"""Choosing an endpoint: scorers rank the candidates, a picker takes one. Pure: no I/O, no clock, no waiting."""
