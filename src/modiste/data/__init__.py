"""Images and labels: found, verified, divided, batched. Only ``sealed`` can open a test set."""
