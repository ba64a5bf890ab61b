"""Recipes: everything that determines a training run, as plain data."""
