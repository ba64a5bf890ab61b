"""Images and labels: found, verified, split, batched. Only ``held_out`` can open a test set."""
