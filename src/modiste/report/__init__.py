"""Reports of a run for people: pages and figures. Importing this raises MissingExtraError without their packages."""

import modiste.report.packages  # noqa: F401 - before any module here imports matplotlib
