"""What a test's body left open, told from what was there before it."""

from __future__ import annotations

import os
import socket

import pytest

from windtunnel.explore import headcount
from windtunnel.explore.headcount import Headcount
from windtunnel.sim.fence import Census


def test_what_leads_elsewhere_since_an_earlier_test_is_not_held_against_this_one() -> None:
    first, other = socket.socketpair()
    Headcount.take()
    number = first.fileno()
    first.close()
    again = socket.socket()  # between two tests, under the same number
    assert again.fileno() == number
    before = Headcount.take()
    left = os.open(os.devnull, os.O_RDONLY)
    found = before.since()
    for each in (again, other):
        each.close()
    os.close(left)
    assert found == ([], [f"descriptor left open: {left} -> /dev/null"])


def test_what_is_closed_while_it_is_counted_was_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = [os.open(os.devnull, os.O_RDONLY)]
    number, take = gone[0], Census.take

    def as_another_thread_closes_it() -> Census:
        while gone:
            os.close(gone.pop())
        return take()

    monkeypatch.setattr(headcount, "_last", None)
    monkeypatch.setattr(Census, "take", as_another_thread_closes_it)
    before = Headcount.take()
    left = os.open(os.devnull, os.O_RDONLY)
    assert left == number
    found = before.since()
    os.close(left)
    assert found == ([], [f"descriptor left open: {left} -> /dev/null"])
