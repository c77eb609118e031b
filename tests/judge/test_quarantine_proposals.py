"""Who goes into quarantine, and who comes out."""

from __future__ import annotations

import datetime
import tomllib

from histories import history, row, unversioned
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.judge.flaky import judge
from windtunnel.judge.quarantine import HOLD_DAYS, propose, release, to_toml
from windtunnel.run.quarantine_file import Entries, Entry, parse_quarantine

TODAY = datetime.date(2026, 5, 1)
YESTERDAY = TODAY - datetime.timedelta(days=1)

FLAKY = judge({"test_a.py::test_a": history(".F .F .F"), "test_a.py::test_b": history("......")})


def test_only_what_is_recommended_is_proposed_with_reason_owner_and_end():
    [entry] = propose(FLAKY, Entries([]), TODAY, lambda nodeid: f"owner of {nodeid}")
    assert entry.test == "test_a.py::test_a"
    assert entry.reason.startswith("flaky: failed 1 and passed 1 of 2 on the same code")
    assert entry.owner == "owner of test_a.py::test_a"
    assert entry.until == TODAY + datetime.timedelta(days=HOLD_DAYS)


def test_what_an_entry_or_a_marker_holds_already_is_not_proposed_again():
    assert propose(FLAKY, Entries([Entry("test_a.py", "all")]), TODAY) == []
    assert propose(FLAKY, Entries([]), TODAY, held=lambda nodeid: True) == []


def test_an_expired_entry_does_not_keep_a_test_from_being_proposed():
    assert propose(FLAKY, Entries([Entry("test_a.py", "old", until=YESTERDAY)]), TODAY)


def test_a_test_flaky_in_two_environments_is_proposed_once():
    rows = history(".F .F .F", environment="a") + history(".F .F .F", environment="b")
    assert len(propose(judge({"t": rows}), Entries([]), TODAY)) == 1


@given(
    st.builds(
        Entry,
        test=st.text(min_size=1).filter(lambda text: text == text.strip()),
        reason=st.text(min_size=1).filter(lambda text: text == text.strip()),
        owner=st.text().filter(lambda text: text == text.strip()),
        until=st.none() | st.dates(),
    )
)
def test_what_is_proposed_can_be_read_back(entry: Entry):
    text = to_toml([entry])
    tomllib.loads(text)
    [read] = parse_quarantine(text, "file")
    assert (read.test, read.reason, read.owner, read.until) == (
        entry.test,
        entry.reason,
        entry.owner,
        entry.until,
    )


def test_a_mended_test_is_released_when_it_passed_for_long_enough():
    entry = Entry("test_a", "flaky", source="file:3")
    mended = unversioned("F.F..F.F.." + "." * 60, quarantined=True)
    [found] = release({"test_a": mended}, Entries([entry]))
    assert found.entry == entry
    assert found.tests == {"test_a": 62}
    assert found.p_stable >= 0.95


def test_the_rarer_a_test_failed_the_longer_it_is_held():
    entry = Entries([Entry("test_a", "flaky")])
    often = unversioned("F.F.FF.F" + "." * 40)
    rarely = unversioned("." * 30 + "F" + "." * 30 + "F" + "." * 40)
    assert release({"test_a": often}, entry)
    assert not release({"test_a": rarely}, entry)


def test_a_test_that_failed_just_now_is_held():
    rows = unversioned("." * 90 + "F..")
    assert not release({"test_a": rows}, Entries([Entry("test_a", "flaky")]))


def test_one_unsteady_environment_holds_the_test_everywhere():
    steady = unversioned("." * 100, environment="a")
    unsteady = unversioned("..F..F...F", environment="b")
    assert not release({"test_a": steady + unsteady}, Entries([Entry("test_a", "flaky")]))


def test_an_entry_of_many_tests_is_held_by_the_last_unsteady_one():
    steady, unsteady = unversioned("." * 100), unversioned("." * 20 + "F.F.F")
    entries = Entries([Entry("test_a.py", "all of it")])
    assert not release({"test_a.py::x": steady, "test_a.py::y": unsteady}, entries)
    assert release({"test_a.py::x": steady, "test_b.py::y": unsteady}, entries)


def test_an_entry_whose_tests_never_ran_is_not_released():
    assert release({}, Entries([Entry("test_a", "flaky")])) == []


def test_a_test_quarantined_by_its_marker_is_released_by_name():
    rows = [row(".", run=n, quarantined=True) for n in range(1, 101)]
    [found] = release({"test_a": rows}, Entries([]))
    assert (found.entry.test, found.entry.source) == ("test_a", "marker")
