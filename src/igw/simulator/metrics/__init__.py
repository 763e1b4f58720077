"""What a simulated server tells of itself, one file per engine's dialect."""
