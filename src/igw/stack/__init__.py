"""Brings the parts of a gateway up in order, watches them, takes them down; and sends real traffic through it.

What the parts do is in their own rooms.
"""
