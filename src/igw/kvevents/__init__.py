"""Listening to the KV events that engines publish over ZeroMQ. What they say is read in `prefix.events` and kept in `prefix.exact`."""
