"""Recorded and made-up workloads: one file per format or generator, and how a format is recognised.

What is done with a workload after it was read is in `shaping` and `users`.
"""
