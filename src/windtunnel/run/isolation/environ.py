"""The process's environment variables, as bytes and at the speed of a dict.

``os.environ`` encodes and decodes every variable it is asked for. Comparing it before and after
each test must cost microseconds, so this module reads the dict of bytes that CPython keeps
behind it, and writes only the variables that differ.
"""

from __future__ import annotations

import os

PYTEST_OWN = b"PYTEST_CURRENT_TEST"
"""Set and removed by pytest around each phase: not part of anyone's state."""

_TRUE_ENVIRON = os.environ


def snapshot() -> dict[bytes, bytes]:
    """All variables, without pytest's own."""
    copy = _data().copy()
    copy.pop(PYTEST_OWN, None)
    return copy


def unchanged(before: dict[bytes, bytes]) -> bool:
    """Whether the variables are those of ``before`` and ``os.environ`` is itself."""
    if os.environ is not _TRUE_ENVIRON:
        return False
    data = _data()
    if PYTEST_OWN not in data:
        return data == before
    return len(data) == len(before) + 1 and before.items() <= data.items()


def apply(target: dict[bytes, bytes]) -> None:
    """Make the variables those of ``target``; pytest's own stays as it is."""
    if os.environ is not _TRUE_ENVIRON:
        os.environ = _TRUE_ENVIRON  # noqa: B003  a test has put another object in its place
    data = _data()
    for key in data.keys() - target.keys():
        if key != PYTEST_OWN:
            del os.environ[os.fsdecode(key)]
    for key, value in target.items():
        if data.get(key) != value:
            os.environ[os.fsdecode(key)] = os.fsdecode(value)


def rebased(
    state: dict[bytes, bytes], before: dict[bytes, bytes], after: dict[bytes, bytes]
) -> dict[bytes, bytes]:
    """``state`` with what changed from ``before`` to ``after`` changed in it as well.

    >>> rebased({b"A": b"mine"}, {b"B": b"1"}, {b"C": b"2"})
    {b'A': b'mine', b'C': b'2'}
    """
    if before == after:
        return state
    result = state.copy()
    for key in before.keys() - after.keys():
        result.pop(key, None)
    for key, value in after.items():
        if before.get(key) != value:
            result[key] = value
    return result


def replaced() -> bool:
    """Whether ``os.environ`` is another object than the interpreter's."""
    return os.environ is not _TRUE_ENVIRON


def _data() -> dict[bytes, bytes]:
    data = vars(os.environ).get("_data") if os.environ is _TRUE_ENVIRON else None
    if isinstance(data, dict):
        return data
    return {os.fsencode(key): os.fsencode(value) for key, value in os.environ.items()}
