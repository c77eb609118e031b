"""Delta debugging: the smallest part of a list that still shows something.

Source: A. Zeller and R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input",
IEEE Transactions on Software Engineering 28(2), 2002: the algorithm ddmin.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def ddmin(items: Sequence[T], shows: Callable[[Sequence[T]], bool]) -> list[T]:
    """A 1-minimal sublist of ``items``, in their order, for which ``shows`` holds.

    :param shows: must hold for ``items`` themselves. No single element of the result can be left
        out; a smaller sublist may exist nevertheless.

    >>> ddmin(range(100), lambda part: 3 in part and 77 in part)
    [3, 77]
    """
    kept, pieces = list(items), 2
    while len(kept) >= 2:
        chunks = _split(kept, pieces)
        smaller = _first_that_shows(chunks, shows)
        if smaller is not None:
            kept, pieces = smaller, 2
            continue
        complements = [
            [item for other in chunks[:i] + chunks[i + 1 :] for item in other]
            for i in range(len(chunks))
        ]
        rest = _first_that_shows(complements, shows) if pieces > 2 else None
        if rest is not None:
            kept, pieces = rest, max(pieces - 1, 2)
        elif pieces < len(kept):
            pieces = min(len(kept), 2 * pieces)
        else:
            break
    return kept


def _split(items: list[T], pieces: int) -> list[list[T]]:
    bounds = [len(items) * i // pieces for i in range(pieces + 1)]
    return [items[a:b] for a, b in itertools.pairwise(bounds)]


def _first_that_shows(
    parts: Sequence[list[T]], shows: Callable[[Sequence[T]], bool]
) -> list[T] | None:
    return next((part for part in parts if shows(part)), None)
