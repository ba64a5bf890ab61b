"""Predictions by a trained model, with torch or without."""
