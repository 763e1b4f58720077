"""Prefix caching: hashing prompts into blocks, and who is believed to hold which block. No scoring, no I/O."""
