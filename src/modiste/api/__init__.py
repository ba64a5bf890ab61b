"""The public functions: what each command does, as a call."""
