"""The reviewed file: what may stand in it, and which tests it names."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from windtunnel.core import UsageError
from windtunnel.run.quarantine_file import Entries, Entry, best, parse_quarantine, read_quarantine

GOOD = """
# Reviewed by the owners.
[[quarantine]]
test = "tests/test_a.py::test_b"
reason = "waits for a real clock"
owner = "ada@example.org"
until = 2026-12-31

[[quarantine]]
test = "tests/test_c.py"
reason = "needs the network"
until = "2027-01-31"
"""


def test_entries_are_read_with_their_place():
    first, second = parse_quarantine(GOOD, "q.toml")
    assert first == Entry(
        "tests/test_a.py::test_b",
        "waits for a real clock",
        "ada@example.org",
        datetime.date(2026, 12, 31),
        "q.toml:3",
    )
    assert (second.owner, second.until, second.source) == (
        "",
        datetime.date(2027, 1, 31),
        "q.toml:9",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[quarantine", "q.toml is not TOML"),
        ("[[quarantined]]\ntest = 'a'", "no table 'quarantined'"),
        ("quarantine = 3", "entries are tables"),
        ("[[quarantine]]\nreason = 'r'", "q.toml:1: entry 1 has no 'test'"),
        ("[[quarantine]]\ntest = 'a'", "q.toml:1: entry 1 has no 'reason'"),
        ("[[quarantine]]\ntest = 'a'\nreason = ' '", "entry 1 has no 'reason'"),
        ("[[quarantine]]\ntest = 3\nreason = 'r'", "'test' is not a string"),
        (
            GOOD + "[[quarantine]]\ntest = 'a'\nreason = 'r'\nuntill = 2026-01-01",
            "q.toml:13: entry 3 has an unknown field 'untill'",
        ),
        (
            "\n\n[[quarantine]]\ntest = 'a'\nreason = 'r'\nuntil = 'soon'",
            "q.toml:3: entry 1: 'until' is not a date",
        ),
        ("[[quarantine]]\ntest = 'a'\nreason = 'r'\nuntil = 2026", "'until' is not a date"),
    ],
)
def test_bad_input_gets_one_clear_error_with_its_place(text: str, message: str):
    with pytest.raises(UsageError, match=message.replace("[", r"\[")):
        parse_quarantine(text, "q.toml")


def test_no_file_is_no_entries(tmp_path: Path):
    assert read_quarantine(tmp_path / "none.toml") == []


def test_a_file_that_is_not_text_gets_one_clear_error(tmp_path: Path):
    path = tmp_path / "q.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot read"):
        read_quarantine(path)


@pytest.mark.parametrize(
    ("test", "nodeid", "names"),
    [
        ("t/a.py::test_x", "t/a.py::test_x", True),
        ("t/a.py::test_x", "t/a.py::test_xy", False),
        ("t/a.py::test_x", "t/a.py::test_x[1-2]", True),
        ("t/a.py::test_x[1]", "t/a.py::test_x[1]", True),
        ("t/a.py::test_x[1]", "t/a.py::test_x[12]", False),
        ("t/a.py::TestC", "t/a.py::TestC::test_x[1]", True),
        ("t/a.py", "t/a.py::test_x", True),
        ("t", "t/deep/a.py::test_x", True),
        ("t/", "t/deep/a.py::test_x", True),
        ("t/a", "t/a.py::test_x", False),
        ("t/*::test_net_*", "t/a.py::test_net_x[1]", True),
        ("t/*::test_net_*", "t/a.py::test_disk", False),
        ("t/a.py::test_x[a*]", "t/a.py::test_x[abc]", True),
        ("t/a.py::test_x[a*]", "t/a.py::test_xa", False),
        ("t/a.py::test_x[*]", "t/a.py::test_x[*]", True),
        ("t/a.py::test_?", "t/a.py::test_x", True),
        ("t/a.py::test_x[a::b/c]", "t/a.py::test_x[a::b/c]", True),
    ],
)
def test_an_entry_names_a_test_and_all_it_holds(test: str, nodeid: str, names: bool):
    assert bool(Entries([Entry(test, "r")]).naming(nodeid)) is names


def test_of_several_entries_the_one_that_holds_longest_counts():
    early = Entry("a", "early", until=datetime.date(2026, 1, 1))
    late = Entry("a", "late", until=datetime.date(2027, 1, 1))
    forever = Entry("a", "forever")
    assert best([early, late]) is late
    assert best([late, forever, early]) is forever
    assert best([]) is None
