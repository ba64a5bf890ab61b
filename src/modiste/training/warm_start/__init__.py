"""Warm starts: changes to a new network before the first training step."""
