"""Model servers without GPUs: a vLLM-like engine, its HTTP face, and the manifest that describes them.

Knows nothing of picking endpoints; imports no other room except `igw.errors`.
"""
