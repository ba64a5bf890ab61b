"""Networks: images (N, C, H, W) in [0, 1] enter, logits (N, classes) leave."""
