"""Tape files: a token and every choice of its run.

A replay from the file makes the same choices even where the code has changed a little, and ends
with :class:`windtunnel.sim.DivergedError` where it asks for one that the tape does not have.

The file is one line of JSON, then the choices: 64-bit little-endian numbers, deflated.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import zlib
from array import array
from pathlib import Path

from windtunnel.core.errors import UsageError
from windtunnel.explore.token import Token

_FORMAT = 2


@dataclasses.dataclass(frozen=True, slots=True)
class TapeFile:
    """A run that can be repeated choice by choice.

    :param token: which test in which world.
    :param choices: as :meth:`windtunnel.sim.Tape.entries` gives them; None where the file holds
        a token alone.

    >>> tape = TapeFile(Token("test_a.py::test_b", 7), array("Q", [1, 2, 3]))
    >>> TapeFile.from_bytes(tape.to_bytes(), "a.tape") == tape
    True
    """

    token: Token
    choices: array[int] | None

    def to_bytes(self) -> bytes:
        """What :meth:`write` writes."""
        choices = self.choices if self.choices is not None else array("Q")
        head = {"windtunnel-tape": _FORMAT, "token": self.token.text(), "choices": len(choices)}
        return json.dumps(head).encode() + b"\n" + zlib.compress(_little(choices).tobytes())

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> TapeFile:
        """Read a tape file, or a file that holds a token alone.

        :param name: what to call it in an error.
        :raises UsageError: for another format, or a file that is damaged.
        """
        line, _, packed = data.partition(b"\n")
        if not line.lstrip().startswith(b"{"):
            return cls(Token.parse(line.decode(errors="replace")), None)
        try:
            head = json.loads(line)
            found = head.get("windtunnel-tape")
            if found != _FORMAT:
                raise UsageError(
                    f"{name} is not a tape file of format {_FORMAT}", found=f"format {found!r}"
                )
            choices = array("Q")
            choices.frombytes(zlib.decompress(packed))
            if len(choices) != head["choices"]:
                raise ValueError(f"{len(choices)} of {head['choices']} choices")
            return cls(Token.parse(head["token"]), _little(choices))
        except (ValueError, KeyError, zlib.error) as error:
            raise UsageError(f"the tape file {name} is damaged", found=str(error)) from None

    def write(self, path: Path) -> None:
        """Write it there, making the folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.to_bytes())

    @classmethod
    def read(cls, token_or_file: str) -> TapeFile:
        """What the user gave: a token, or the path of a file.

        :raises UsageError: when it is neither, or cannot be read.
        """
        path = Path(token_or_file)
        try:
            if os.path.isfile(token_or_file):  # a token may be too long to be asked as a path
                return cls.from_bytes(path.read_bytes(), str(path))
        except OSError as error:
            raise UsageError(f"cannot read {path}", found=error.strerror or str(error)) from None
        return cls(Token.parse(token_or_file), None)


def _little(choices: array[int]) -> array[int]:
    if sys.byteorder == "big":
        choices = choices[:]
        choices.byteswap()
    return choices
