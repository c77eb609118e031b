"""The SVG writer: elements, escaped and printed the same way every time.

No more than drawings need: a tree of elements, numbers in at most two decimals, attributes in
the order they were given. Nothing here knows what is drawn.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterable
from typing import TypeAlias

from windtunnel.draw.text import clean

Attribute: TypeAlias = str | float | int
Child: TypeAlias = "Element | str"


@dataclasses.dataclass(frozen=True, slots=True)
class Element:
    """One element with its attributes and children; ``str()`` gives its markup."""

    name: str
    attributes: tuple[tuple[str, Attribute], ...] = ()
    children: tuple[Child, ...] = ()

    def __str__(self) -> str:
        parts: list[str] = []
        _write(self, parts)
        return "".join(parts)


def tag(name: str, *children: Child, **attributes: Attribute | None) -> Element:
    """An element. ``class_`` stands for ``class``, ``stroke_width`` for ``stroke-width``.

    An attribute of None is left out.

    >>> print(tag("text", "a < b", x=1.0, y=2.346, class_="wt-label"))
    <text x="1" y="2.35" class="wt-label">a &lt; b</text>
    """
    return Element(
        name,
        tuple(
            (key.rstrip("_").replace("_", "-"), value)
            for key, value in attributes.items()
            if value is not None
        ),
        children,
    )


def drawing(width: float, height: float, children: Iterable[Child], *, label: str) -> Element:
    """The outermost ``<svg>`` of that size, in pixels; it shrinks with its page.

    :param label: what the drawing shows, in words, for those who do not see it.
    """
    return tag(
        "svg",
        *children,
        class_="wt-drawing",
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
    )


def document(svg: Element, style: str) -> str:
    """``svg`` as a file of its own, with ``style`` inside."""
    whole = Element(
        svg.name,
        (("xmlns", "http://www.w3.org/2000/svg"), *svg.attributes),
        (tag("style", style), *svg.children),
    )
    return f"{whole}\n"


def number(value: float) -> str:
    """At most two decimals and no more digits than needed.

    >>> number(3.0), number(0.126), number(-0.001)
    ('3', '0.13', '0')
    """
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _write(element: Element, parts: list[str]) -> None:
    attributes = "".join(f' {name}="{_attribute(value)}"' for name, value in element.attributes)
    if not element.children:
        parts.append(f"<{element.name}{attributes}/>")
        return
    parts.append(f"<{element.name}{attributes}>")
    for child in element.children:
        if isinstance(child, Element):
            _write(child, parts)
        else:
            parts.append(html.escape(clean(child, lines=True), quote=False))
    parts.append(f"</{element.name}>")


def _attribute(value: Attribute) -> str:
    if isinstance(value, str):
        return html.escape(clean(value), quote=True)
    return number(value)
