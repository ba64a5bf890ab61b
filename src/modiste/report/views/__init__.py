"""What a trained network sees: drawings of its inside."""
