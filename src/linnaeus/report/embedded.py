"""Each picture of a page is in it once, however often it is shown.

A picture is a rule of the page's own style sheet, and whatever shows it carries the rule's class; so it needs no
script, prints, and a thumbnail that stands in three galleries costs its bytes once. Knows data URIs,
not what they show.
"""

from __future__ import annotations

from jinja2 import Environment
from markupsafe import Markup

PLACE = "<!--pictures-->"
"""Where the rules go, which are known only when the rest of the page is written. Names that came with the data cannot
forge it: their `<` is escaped.
"""


class EmbeddedPictures:
    """The pictures of one page, collected while its templates are rendered."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def name(self, uri: str) -> str:
        """The class that shows a data URI; the same URI has the same class."""
        assert uri.startswith("data:image/")
        assert not set('"\\\n<') & set(uri)
        return self._names.setdefault(uri, f"i{len(self._names)}")

    def rules(self) -> Markup:
        """One CSS rule per picture."""
        return Markup("\n").join(
            Markup(f'.{name}{{background-image:url("{uri}")}}') for uri, name in self._names.items()
        )


def render_page(environment: Environment, template: str, /, values: dict[str, object]) -> str:
    """A template with every picture its `picture` macro shows embedded once; text that is not Unicode is spelt out."""
    pictures = EmbeddedPictures()
    environment.globals["embed"] = pictures.name
    page = environment.get_template(template).render(**values)
    before, place, after = page.partition(PLACE)
    assert place, f"{template} has no place for its pictures"
    whole = f"{before}{pictures.rules()}{after}"
    return whole.encode("utf-8", "backslashreplace").decode("utf-8")
