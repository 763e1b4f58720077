"""Traces of requests: when each part of the way began and ended, told to a collector when the request has ended. Off, nothing of it is there."""
