"""What an operator writes, read strictly: YAML and JSON files become frozen values or one clear error.

What the values mean to Envoy, the picker or the simulator belongs to those rooms.
"""
