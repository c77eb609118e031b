"""Embeddings without a model: a seeded unit vector for a text.

The same text has the same vector under the same seed, another text another one, and texts that
share words point in more similar directions than texts that share none; so a retriever tested
against them finds the passage that has the question's words in it. They mean nothing beyond that.

>>> import math
>>> cat, cats, rain = (vector(t, 64) for t in ("the grey cat", "a grey cat", "rain at sea"))
>>> math.isclose(math.hypot(*cat), 1.0, rel_tol=1e-6)
True
>>> cosine(cat, cats) > 0.5 > abs(cosine(cat, rain))
True
"""

from __future__ import annotations

import array
import hashlib
import math
import re
from collections.abc import Sequence
from functools import lru_cache

_WORD = re.compile(r"\w+")
_OWN = 0.35  # how much of a vector is the text's own, beside what its words give it


@lru_cache(maxsize=256)
def _vector(text: str, size: int, seed: int) -> array.array[float]:
    values = [_OWN * part for part in _drawn(f"text/{text}", size, seed)]
    for word in _WORD.findall(text.lower()):
        for index, part in enumerate(_word(f"word/{word}", size, seed)):
            values[index] += part
    return array.array("d", scaled(values))


def _drawn(name: str, size: int, seed: int) -> array.array[int]:
    """A direction: of any length, since what is made of it is scaled."""
    data = f"{seed}/{name}".encode("utf-8", "surrogatepass")
    return array.array("h", hashlib.shake_128(data).digest(2 * size))


_word = lru_cache(maxsize=1024)(_drawn)  # arrays, not tuples: a tenth of the memory


def scaled(values: Sequence[float]) -> list[float]:
    """The vector of length 1 in that direction, with as many digits as a 32-bit float has."""
    length = math.hypot(*values) or 1.0
    return [round(value / length, 8) for value in values]


def vector(text: str, size: int, seed: int = 0) -> list[float]:
    """A unit vector for a text.

    :param size: how many dimensions.
    :param seed: of the server.
    """
    return list(_vector(text, size, seed))


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """How alike two unit vectors are: 1 for the same direction, 0 for unrelated ones."""
    return sum(a * b for a, b in zip(one, other, strict=True))


__all__ = ["cosine", "scaled", "vector"]
