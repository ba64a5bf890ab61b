"""Images that belong to none of the classes."""
