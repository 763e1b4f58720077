"""Asking somebody else for the tokens of a prompt. What is done with them is decided in `scheduling`; tokens that requests bring are read in `prefix`."""
