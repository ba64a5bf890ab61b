"""Visualizations of what a trained network has learnt."""
