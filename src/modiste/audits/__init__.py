"""Audits of a data set: duplicate images, and labels that are likely wrong."""
