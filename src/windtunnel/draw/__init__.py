"""Drawings: strips of outcomes, timelines, charts and sequence diagrams, as SVG and as text.

A drawing is a value: the same input gives the same bytes on every machine. It is an
:class:`Element`; put it into an HTML page with ``str(...)``, or into a file of its own with
:func:`document`. Colours are classes, so that one stylesheet (:data:`STYLE`) serves the light
and the dark of a reader's screen.

>>> from windtunnel.draw import strip_text
>>> strip_text("..F..F")
'▁▁█▁▁█'
"""

from windtunnel.draw.chart import bars, interval, line
from windtunnel.draw.sequence import Absence, Across, Arrow, Mark, sequence
from windtunnel.draw.strip import strip_svg, strip_text
from windtunnel.draw.style import STYLE
from windtunnel.draw.svg import Element, document, drawing, tag
from windtunnel.draw.text import cells, clean, pad, seconds, shorten
from windtunnel.draw.timeline import Bar, timeline

__all__ = [
    "STYLE",
    "Absence",
    "Across",
    "Arrow",
    "Bar",
    "Element",
    "Mark",
    "bars",
    "cells",
    "clean",
    "document",
    "drawing",
    "interval",
    "line",
    "pad",
    "seconds",
    "sequence",
    "shorten",
    "strip_svg",
    "strip_text",
    "tag",
    "timeline",
]
