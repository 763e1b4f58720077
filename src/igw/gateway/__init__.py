"""Gateway, HTTPRoute and InferencePool become Envoy configuration; Envoy is run and told of changes.

How a request's endpoint is picked is not known here: Envoy asks the picker over ext_proc.
"""
