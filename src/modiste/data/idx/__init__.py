"""Data sets in the IDX format."""
