"""What happens to a new network before the first training step."""
