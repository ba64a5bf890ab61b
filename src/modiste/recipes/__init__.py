"""Recipes: everything that decides the result of a training run, as plain data."""
