"""Which requests in flight may be given up, and which first. When that happens is `revocation`."""
