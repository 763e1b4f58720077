"""Asking caches outside of the endpoints what they hold of a prompt, one file per kind. What is made of the answer is decided in `work`."""
