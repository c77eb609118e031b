"""What a quarantine is: its entries, where they are written, and which tests they name.

A quarantine is written as ``@pytest.mark.quarantine`` on a test or as an entry of the reviewed
file ``windtunnel.quarantine.toml``; both end up as an :class:`Entry`. Nothing here runs a test.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from windtunnel.core import REAL_CLOCK, UsageError

_FIELDS = ("test", "reason", "owner", "until")
_HEADER = re.compile(r"^\s*\[\[\s*quarantine\s*\]\]", re.MULTILINE)


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One quarantine.

    :param test: a test's name; a class, file or folder (all tests in it); a parametrised test
        without its brackets (all its parameters); or a pattern with ``*`` and ``?``.
    :param reason: why.
    :param owner: who will repair it; may be empty.
    :param until: the last day on which it holds; None for no end.
    :param source: where it is written: ``windtunnel.quarantine.toml:12``, or ``marker``.
    """

    test: str
    reason: str
    owner: str = ""
    until: datetime.date | None = None
    source: str = ""

    def expired(self, today: datetime.date) -> bool:
        """Whether its last day is over.

        >>> Entry("t", "r", until=datetime.date(2026, 5, 1)).expired(datetime.date(2026, 5, 1))
        False
        """
        return self.until is not None and self.until < today

    @property
    def is_pattern(self) -> bool:
        """Whether ``test`` is a pattern and not a name."""
        return "*" in self.test or "?" in self.test


def today() -> datetime.date:
    """The day it is, in UTC, so that one entry ends at the same instant on all machines."""
    return datetime.datetime.fromtimestamp(REAL_CLOCK.time(), datetime.UTC).date()


def read_quarantine(path: Path) -> list[Entry]:
    """The entries of a quarantine file; none where there is no file.

    :raises UsageError: when the file is not TOML, or holds a field or value that cannot be meant;
        the message names the file, the entry's number and its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}", found=str(error)) from None
    return parse_quarantine(text, path.name)


def parse_quarantine(text: str, name: str) -> list[Entry]:
    """The entries of a quarantine file's text; ``name`` is what messages call the file.

    >>> text = '''
    ... [[quarantine]]
    ... test = "tests/test_net.py::test_retry"
    ... reason = "waits for a real clock, see #12"
    ... owner = "ada@example.org"
    ... until = 2026-12-31
    ... '''
    >>> [entry] = parse_quarantine(text, "windtunnel.quarantine.toml")
    >>> entry.source, entry.until
    ('windtunnel.quarantine.toml:2', datetime.date(2026, 12, 31))
    """
    import tomllib  # costs milliseconds; most runs have no such file

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name} is not TOML", found=str(error)) from None
    for key in document:
        if key != "quarantine":
            raise UsageError(
                f"{name}: there is no table {key!r}", fix="every entry stands under [[quarantine]]"
            )
    tables = document.get("quarantine", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{name}: entries are tables", fix="begin each with [[quarantine]]")
    lines = [text.count("\n", 0, match.end()) + 1 for match in _HEADER.finditer(text)]
    if len(lines) != len(tables):  # a header inside a string, or an inline array
        lines = []
    return [
        _entry(table, name, number, lines[number - 1] if lines else 0)
        for number, table in enumerate(tables, start=1)
    ]


def _entry(table: Mapping[str, object], name: str, number: int, line: int) -> Entry:
    where = f"{name}:{line}: entry {number}" if line else f"{name}: entry {number}"
    for key in table:
        if key not in _FIELDS:
            raise UsageError(
                f"{where} has an unknown field {key!r}", fix=f"fields are {', '.join(_FIELDS)}"
            )
    return Entry(
        test=_text(table, "test", where, needed=True),
        reason=_text(table, "reason", where, needed=True),
        owner=_text(table, "owner", where, needed=False),
        until=parse_until(table.get("until"), where),
        source=f"{name}:{line}" if line else name,
    )


def _text(table: Mapping[str, object], field: str, where: str, *, needed: bool) -> str:
    value = table.get(field, "")
    if not isinstance(value, str):
        raise UsageError(f"{where}: {field!r} is not a string", found=repr(value))
    if needed and not value.strip():
        raise UsageError(f"{where} has no {field!r}", fix=f'add {field} = "..."')
    return value.strip()


def parse_until(value: object, where: str) -> datetime.date | None:
    """The last day of a quarantine, given as a date or as ``"YYYY-MM-DD"``.

    :raises UsageError: when it is neither.
    """
    if value is None or value == "":
        return None
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    if isinstance(value, str):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            pass
    raise UsageError(
        f"{where}: 'until' is not a date", found=repr(value), fix='write it as "2026-12-31"'
    )


class Entries:
    """Entries, found by the tests they name."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.all = tuple(entries)
        self._named: dict[str, list[Entry]] = {}
        self._patterns: list[tuple[re.Pattern[str], Entry]] = []
        for entry in self.all:
            if entry.is_pattern:
                self._patterns.append((_pattern(entry.test), entry))
            # A pattern may be a name as well: parameters are free to hold a star.
            self._named.setdefault(entry.test.rstrip("/"), []).append(entry)

    def __bool__(self) -> bool:
        return bool(self.all)

    def naming(self, nodeid: str) -> list[Entry]:
        """The entries that name this test.

        >>> entries = Entries([Entry("tests/test_a.py::TestB", "r"), Entry("*[slow-*]", "r")])
        >>> [entry.test for entry in entries.naming("tests/test_a.py::TestB::test_c[slow-1]")]
        ['tests/test_a.py::TestB', '*[slow-*]']
        """
        found = [entry for name in _names(nodeid) for entry in self._named.get(name, ())]
        found += [
            entry
            for pattern, entry in self._patterns
            if entry not in found and pattern.fullmatch(nodeid)
        ]
        return found


def _names(nodeid: str) -> Iterable[str]:
    """A test's name, and those of everything it is in."""
    yield nodeid
    name, bracket, _ = nodeid.partition("[")
    if bracket:
        yield name
    while "::" in name:
        name = name.rpartition("::")[0]
        yield name
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _pattern(text: str) -> re.Pattern[str]:
    # Not fnmatch: to it the brackets of a parametrised test are a set of characters.
    return re.compile(re.escape(text).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def best(entries: Iterable[Entry]) -> Entry | None:
    """Of several entries for one test the one that holds longest."""
    return max(entries, key=lambda entry: entry.until or datetime.date.max, default=None)
