"""Exported models: one file for other programs."""
