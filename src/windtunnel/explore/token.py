"""Tokens: one line that says all that is needed to run one seed of one test again.

A token holds the seed and not the choices: they follow from it, as long as the code, the
interpreter, the packages and the hash seed are what they were. It therefore names those too, so
that a replay which cannot hold says which of them differs.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import zlib
from typing import Any

from windtunnel.core.errors import UsageError
from windtunnel.core.seed import Seed

VERSION = 1
_PREFIX = "wt"
_KEYS = {
    "nodeid": "n",
    "seed": "s",
    "world": "w",
    "code": "c",
    "interpreter": "i",
    "packages": "p",
    "hash_seed": "h",
    "choices": "x",
    "steps": "t",
    "error": "e",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """One run of one test.

    :param nodeid: the test, from the project's root.
    :param seed: the world's seed.
    :param world: the world's configuration as plain data (:func:`windtunnel.explore.plain`).
    :param code: content hash of the project's code.
    :param interpreter: implementation, version and platform.
    :param packages: hash of the installed distributions.
    :param hash_seed: PYTHONHASHSEED of the process; empty when the interpreter drew its own,
        which cannot be known nor set again.
    :param choices: version of Hypothesis and the choices of its failing example; empty outside.
    :param steps: number of steps after which the run ended, to tell whether a replay is the same.
    :param error: name of the exception's class, likewise.

    >>> token = Token("test_a.py::test_b", 7, steps=12, error="AssertionError")
    >>> Token.parse(token.text()) == token
    True
    """

    nodeid: str
    seed: int
    world: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    code: str = ""
    interpreter: str = ""
    packages: str = ""
    hash_seed: str = ""
    choices: tuple[str, ...] = ()
    steps: int = 0
    error: str = ""

    def text(self) -> str:
        """The token as it is printed: letters, digits, ``-`` and ``_``."""
        plain = {_KEYS[name]: value for name, value in _fields(self) if value}
        body = zlib.compress(json.dumps(plain, separators=(",", ":")).encode(), 9)
        body += zlib.crc32(body).to_bytes(4, "big")
        return f"{_PREFIX}{VERSION}_{base64.urlsafe_b64encode(body).decode().rstrip('=')}"

    @classmethod
    def parse(cls, text: str) -> Token:
        """Read a token.

        :raises UsageError: when it is none, is of another version, or is damaged.
        """
        text = text.strip()
        head, separator, encoded = text.partition("_")
        version = head[len(_PREFIX) :]
        if not (separator and head.startswith(_PREFIX) and version.isdigit()):
            raise UsageError(
                "this is neither a token nor a file",
                found=repr(_short(text)),
                fix=f"a token begins with {_PREFIX}{VERSION}_; a failing test prints it",
            )
        if int(version) != VERSION:
            raise UsageError(
                f"the token is of version {version}",
                found=f"this windtunnel reads version {VERSION}",
                fix="replay it with the windtunnel that printed it",
            )
        return cls(**_decoded(encoded, text))

    def seed_of_world(self) -> Seed:
        """The seed, as the world takes it."""
        return Seed(self.seed)

    def differences(self, here: Token) -> list[str]:
        """What of the pinned things is another here, one line each."""
        return [
            f"{label}: {was or 'not known'} then, {now or 'not known'} now"
            for label, was, now in (
                ("code", self.code, here.code),
                ("interpreter", self.interpreter, here.interpreter),
                ("installed packages", self.packages, here.packages),
                ("PYTHONHASHSEED", self.hash_seed, here.hash_seed),
            )
            if was != now
        ]


def _fields(token: Token) -> list[tuple[str, Any]]:
    return [(field.name, getattr(token, field.name)) for field in dataclasses.fields(token)]


def _decoded(encoded: str, text: str) -> dict[str, Any]:
    try:
        body = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        if zlib.crc32(body[:-4]).to_bytes(4, "big") != body[-4:]:
            raise ValueError("its checksum is wrong")
        plain = json.loads(zlib.decompress(body[:-4]))
        names = {key: name for name, key in _KEYS.items()}
        fields = {names[key]: value for key, value in plain.items()}
        fields["choices"] = tuple(fields.get("choices", ()))
        Seed(fields["seed"])
        str(fields["nodeid"])
    except (ValueError, KeyError, TypeError, zlib.error, binascii.Error) as error:
        raise UsageError(
            "the token is damaged",
            found=f"{error} in {_short(text)!r}",
            fix="copy the whole line, without blanks or line breaks in it",
        ) from None
    return fields


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
