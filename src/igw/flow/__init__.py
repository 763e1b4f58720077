"""Requests that wait at the gateway until there is room for them. Where they then go is `scheduling`, who asks is `routing`."""
