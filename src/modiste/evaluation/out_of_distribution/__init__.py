"""Detection of out-of-distribution images: those that show none of the classes."""
