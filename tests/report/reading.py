"""Pages read back, for tests that ask for facts: elements, anchors and the numbers in a text, whatever the sentence."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TypeVar

T = TypeVar("T")
VOID = {"meta", "link", "img", "input", "br"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "</style></title>&amp;",
]


def present(value: T | None) -> T:
    """The value, such as a section that a page may leave out; asserts that it is there."""
    assert value is not None
    return value


def numbers(text: str) -> list[float]:
    """Every number of a text, in order: thousands may have commas, a sign stands before it only after a blank."""
    found = re.findall(r"(?<![\w.,])[-+−]?\d[\d,]*(?:\.\d+)?", text.replace("\xa0", " "))
    return [float(number.rstrip(",").replace(",", "").replace("−", "-")) for number in found]


class Page(HTMLParser):
    """Tags with attributes in order, and text; asserts that every element is closed where it was opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.raw = ""
        self._open: list[str] = []
        self._within: list[str] = []
        self._by_id: dict[str, list[str]] = {}
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("td", "th", "dd", "li", "p"):
            self._say(" ")
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if "id" in attributes:
            self._by_id[attributes["id"]] = []
        if tag not in VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self._open.append(tag)
            self._within.append(attributes.get("id", ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, f"</{tag}> closes another element"
        self._within.pop()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("script", "style"):
            self.raw += data
        else:
            self._say(data)

    def _say(self, text: str) -> None:
        self.texts.append(text)
        for name in self._within:
            if name:
                self._by_id[name].append(text)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))

    @property
    def ids(self) -> set[str]:
        """Of all elements that have one: sections and charts among them."""
        return set(self._by_id)

    @property
    def notices(self) -> set[str]:
        """Which notices stand above the scores."""
        return {attributes["data-notice"] for _, attributes in self.tags if "data-notice" in attributes}

    def within(self, id: str) -> str:
        """The text of one element, with single blanks."""
        return re.sub(r"\s+", " ", "".join(self._by_id[id])).strip()

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]
