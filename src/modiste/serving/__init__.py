"""A model on the network, without torch."""
