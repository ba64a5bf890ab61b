"""Pages that need nothing else, neither network nor JavaScript: from a template and what fills it to HTML."""

from typing import Any

import jinja2

from modiste.report.wording import breakable, number_of, percent
from modiste.version import __version__


def render(template: str, **content: Any) -> str:
    """Return a page; everything that enters it is escaped, and what the template misses is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("modiste", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, number_of=number_of, breakable=breakable)
    return environment.get_template(template).render(version=__version__, **content)
