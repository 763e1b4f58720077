"""Metric families and logs. Knows no engine: rooms record into it, wrappers put around them at build time."""
