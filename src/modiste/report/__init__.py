"""Reports of a run for people: pages and figures."""
