"""Tape files: written, read, and refused where they are damaged."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from windtunnel.core import UsageError
from windtunnel.explore import TapeFile, Token

TOKEN = Token("test_a.py::test_b", 7)
TAPE = TapeFile(TOKEN, array("Q", [1, 2**40 + 5, 2**63, 0]))


def test_a_tape_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.tape"
    TAPE.write(path)
    assert TapeFile.read(str(path)) == TAPE


def test_a_file_may_hold_a_token_alone(tmp_path: Path) -> None:
    path = tmp_path / "token.txt"
    path.write_text(TOKEN.text() + "\n")
    assert TapeFile.read(str(path)) == TapeFile(TOKEN, None)
    assert TapeFile.read(TOKEN.text()) == TapeFile(TOKEN, None)


@pytest.mark.parametrize("keep", [60, -1])
def test_a_tape_that_is_cut_off_is_damaged(keep: int) -> None:
    with pytest.raises(UsageError, match=r"the tape file a\.tape is damaged"):
        TapeFile.from_bytes(TAPE.to_bytes()[:keep], "a.tape")


def test_a_tape_of_another_format_is_said_to_be_that() -> None:
    data = TAPE.to_bytes().replace(b'"windtunnel-tape": 2', b'"windtunnel-tape": 9')
    with pytest.raises(UsageError, match=r"a\.tape is not a tape file of format 2") as raised:
        TapeFile.from_bytes(data, "a.tape")
    assert "9" in raised.value.found
