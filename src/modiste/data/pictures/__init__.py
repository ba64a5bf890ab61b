"""Data sets of picture files: class folders, and CSV lists."""
