"""Measuring: logits once, then pure functions of (logits, labels)."""
