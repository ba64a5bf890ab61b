"""Reports of a run for people: pages and figures.

Importing any module of this package needs matplotlib and Jinja (``pip install 'modiste[report]'``), and raises
MissingExtraError without them.
"""

from modiste.reports.packages import import_packages

import_packages()
