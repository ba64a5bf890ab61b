"""Watching a deployed model: the log of its answers, and a test whether they have drifted from validation."""
