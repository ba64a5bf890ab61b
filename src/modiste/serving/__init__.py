"""An HTTP server for a model, without torch: a page for people, an API for programs."""
