"""Evaluation: logits are computed once, and measures are pure functions of (logits, labels)."""
