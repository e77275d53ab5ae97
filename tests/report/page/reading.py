"""Reads a page as a browser would, and says what a reader would miss."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "img", "hr"}
INLINE = {"a", "bdi", "code", "span", "strong"}
LOADING = {"src", "srcset", "poster", "data", "action", "formaction", "background", "xlink:href"}
Element = tuple[str, dict[str, str]]


class Document(HTMLParser):
    """Elements in their order, and the text that is shown (the titles of elements left out)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.faults: list[str] = []
        self._open: list[str] = []
        self._said: list[str] = []
        self._captioned: list[bool] = []
        self.feed(text)
        self.close()
        self.faults += [f"<{name}> is not closed" for name in self._open]
        self.faults += self._judged()
        self.text = " ".join("".join(self._said).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._part(tag)
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._captioned.append(False)
        if tag == "caption":
            self._captioned[-1] = True

    def _part(self, tag: str) -> None:
        if tag not in INLINE:
            self._said.append(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self._open[-1:]}")
            return
        self._open.pop()
        self._part(tag)
        if tag == "table" and not self._captioned.pop():
            self.faults.append("a table has no caption")

    def handle_data(self, data: str) -> None:
        if self._open[-1:] not in (["style"], ["title"]):
            self._said.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of all elements of a name."""
        return [attributes for name, attributes in self.elements if name == tag]

    def _judged(self) -> Iterator[str]:
        ids = [a["id"] for _, a in self.elements if "id" in a]
        yield from (f"the id {one} stands there twice" for one in set(ids) if ids.count(one) > 1)
        for tag, attributes in self.elements:
            yield from _element(tag, attributes, ids)
        for tag in ("h1", "main", "title", "header", "nav", "footer"):
            if len(self.all(tag)) != 1:
                yield f"{len(self.all(tag))} times <{tag}>"


def _element(tag: str, attributes: dict[str, str], ids: list[str]) -> Iterator[str]:
    if tag in ("script", "iframe", "object", "embed", "link", "base"):
        yield f"<{tag}>"
    if tag == "th" and attributes.get("scope") not in ("col", "row"):
        yield "a heading of a table has no scope"
    if attributes.get("role") == "img" and not attributes.get("aria-label"):
        yield "a drawing says nothing to those who can't see it"
    if tag == "img" and "alt" not in attributes:
        yield "a picture has no text"
    for name, value in attributes.items():
        if name in LOADING or name.startswith("on") or "url(" in value:
            yield f"{tag} {name}={value}"
        if name in ("href", "aria-labelledby") and value.removeprefix("#") not in ids:
            yield f"{tag} {name}={value} leads nowhere"


def faults(text: str) -> list[str]:
    """All that is wrong with a page: what is not closed, has no text or caption, or would be loaded or run."""
    found = Document(text).faults
    for style in re.findall(r"<style>(.*?)</style>", text, re.S):
        found += [f"a style loads {part}" for part in re.findall(r"@import|url\(", style)]
    return found
