"""What a test's body left open, told from what was there before it."""

from __future__ import annotations

import os
import socket

from windtunnel.explore.headcount import Headcount


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
