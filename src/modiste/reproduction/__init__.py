"""The paper as data, and its reproduction by one command."""
