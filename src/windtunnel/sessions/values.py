"""Values that cross between this process and a guest, exactly or not at all.

The bytes are a program for a stack machine: a leaf pushes itself, a container pops its members, so
neither side recurses and no depth is too deep. A decoder of hostile bytes builds nothing larger
than they are and runs no code. This file needs nothing but the standard library: a child
process that has no windtunnel loads it by its path.

What crosses: None, bool, int of any size, float (nan, infinities and -0.0 too), str (lone
surrogates too), bytes, list, tuple, dict with any of these as keys that can be hashed, set,
frozenset, datetime, date, time (with ``fold``; zones are ``datetime.timezone`` and ``ZoneInfo``)
and timedelta. The type must be that very type: an ``IntEnum``, a named tuple or another subclass
would arrive as something else, so it is refused. A value that occurs twice arrives as two equal
values.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from windtunnel.core.errors import UsageError as _UsageError
else:
    try:
        from windtunnel.core.errors import UsageError as _UsageError
    except ImportError:  # in a child process that has this file alone

        class _UsageError(Exception):
            def __init__(self, what: str, *, found: str = "", fix: str = "") -> None:
                self.found = found
                super().__init__(f"{what}: {found}" if found else what)


class ValueCrossingError(_UsageError):
    """A value cannot be carried to or from a guest without changing it.

    >>> import enum
    >>> Colour = enum.IntEnum("Colour", "RED")
    >>> encode({"likes": [Colour.RED]})
    Traceback (most recent call last):
    windtunnel.sessions.values.ValueCrossingError: a value cannot cross to or from a guest
      found: value['likes'][0] is a Colour
      to fix: cross None, bool, int, float, str, bytes, list, tuple, dict, set, frozenset, datetime, date, time or timedelta, each of exactly that type
    """  # noqa: E501


CROSSING = (
    "None, bool, int, float, str, bytes, list, tuple, dict, set, frozenset, datetime, date, time"
    " or timedelta"
)


def refused(path: str, found: str) -> ValueCrossingError:
    """The error for what was found at ``path``, such as ``value['a'][0]``."""
    return ValueCrossingError(
        "a value cannot cross to or from a guest",
        found=f"{path} is {found}",
        fix=f"cross {CROSSING}, each of exactly that type",
    )


def encode(value: object) -> bytes:
    """The bytes that :func:`decode` makes an equal value of the same types from.

    :raises ValueCrossingError: for a type that does not cross or a container that holds itself,
        naming where it is.

    >>> decode(encode({"n": 10**400, (1, b"\\x00"): [float("inf"), "\\ud800"]})) == {
    ...     "n": 10**400, (1, b"\\x00"): [float("inf"), "\\ud800"]}
    True
    """
    out = bytearray()
    # Containers come twice: first to put their members on the stack, then to close themselves.
    stack: list[tuple[object, bool]] = [(value, False)]
    open_now: set[int] = set()
    while stack:
        item, members_done = stack.pop()
        kind = type(item)
        leaf = _LEAVES.get(kind)
        if leaf is not None:
            out += leaf(item)
        elif kind not in _CONTAINERS:
            raise refused(*_where(value, item))
        elif members_done:
            open_now.discard(id(item))
            out += _CONTAINERS[kind] + _U64.pack(len(item))  # type: ignore[arg-type]
        else:
            if id(item) in open_now:
                raise refused("value", "a container that holds itself")
            open_now.add(id(item))
            stack.append((item, True))
            members = _members(item)
            members.reverse()
            stack += [(member, False) for member in members]
    return bytes(out + _END)


def decode(data: bytes) -> Any:
    """The value that ``data`` was encoded from.

    :raises ValueCrossingError: where the bytes are not what :func:`encode` gives.
    """
    stack: list[Any] = []
    at, end = 0, len(data) - 1
    try:
        if data[-1:] != _END:
            raise ValueError("it does not end where a value ends")
        while at < end:
            tag = data[at : at + 1]
            at += 1
            if tag in _CLOSERS:
                (count,) = _U64.unpack_from(data, at)
                at += 8
                close, per_member = _CLOSERS[tag]
                taken = count * per_member
                if taken > len(stack):
                    raise ValueError("more members than there are values")
                members = stack[len(stack) - taken :]
                del stack[len(stack) - taken :]
                stack.append(close(members))
            elif tag in _SINGLES:
                stack.append(_SINGLES[tag])
            else:
                (size,) = _U64.unpack_from(data, at)
                at += 8
                if size > end - at:
                    raise ValueError("it ends in the middle of a value")
                stack.append(_READERS[tag](data[at : at + size]))
                at += size
        (value,) = stack
    except (KeyError, ValueError, TypeError, struct.error, OverflowError) as error:
        raise ValueCrossingError(
            "the bytes of a value cannot be read",
            found=f"{type(error).__name__}: {error} at byte {at} of {end}",
            fix="give the bytes that windtunnel.sessions.values.encode made",
        ) from error
    return value


def check(
    value: object,
    *,
    called: str = "value",
    unfit: Callable[[object], str] = lambda leaf: "",
    deepest: int | None = None,
) -> None:
    """Make sure that a value crosses, without carrying it.

    :param called: what the value is called in the error.
    :param unfit: what is wrong with a text or a moment in time within it; empty for nothing.
    :param deepest: how many containers may be within one another.
    :raises ValueCrossingError: as :func:`encode` does.
    """
    stack: list[tuple[object, bool]] = [(value, False)]
    open_now: set[int] = set()
    while stack:
        item, members_done = stack.pop()
        kind = type(item)
        if kind in _VARIED:
            if kind is not str:
                _zone(item)  # type: ignore[arg-type]
            what = unfit(item)
            if what:
                raise refused(_where(value, item, called)[0], what)
        elif kind in _LEAVES:
            pass
        elif kind not in _CONTAINERS:
            raise refused(*_where(value, item, called))
        elif members_done:
            open_now.discard(id(item))
        else:
            if id(item) in open_now:
                raise refused(called, "a container that holds itself")
            open_now.add(id(item))
            if deepest is not None and len(open_now) > deepest:
                raise refused(called, f"nested more than {deepest} deep")
            stack.append((item, True))
            stack += [(member, False) for member in _members(item)]


def walk(value: object, called: str = "value") -> Iterator[tuple[str, object]]:
    """Every value within ``value``, itself first, with its path; a cycle is walked once."""
    stack: list[tuple[str, object]] = [(called, value)]
    seen: set[int] = set()
    while stack:
        path, item = stack.pop()
        yield path, item
        if type(item) not in _CONTAINERS or id(item) in seen:
            continue
        seen.add(id(item))
        stack += reversed(list(_named_members(path, item)))


def _where(value: object, unfit: object, called: str = "value") -> tuple[str, str]:
    for path, item in walk(value, called):
        if item is unfit:
            return path, f"a {type(item).__qualname__}"
    return called, f"a {type(unfit).__qualname__}"


def _named_members(path: str, item: object) -> Iterator[tuple[str, object]]:
    if isinstance(item, dict):
        for key, member in item.items():
            yield f"a key of {path}", key
            yield f"{path}[{_short(key)}]", member
    elif isinstance(item, list | tuple):
        yield from ((f"{path}[{index}]", member) for index, member in enumerate(item))
    elif isinstance(item, set | frozenset):
        yield from ((f"a member of {path}", member) for member in item)


def _short(key: object) -> str:
    text = repr(key)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _members(item: object) -> list[object]:
    if isinstance(item, dict):
        return [part for pair in item.items() for part in pair]
    assert isinstance(item, list | tuple | set | frozenset)
    return list(item)


_END = b"."  # without it, the start of a container would be read as its first member
_U64 = struct.Struct("<Q")
_F64 = struct.Struct("<d")
_MOMENT = struct.Struct("<HBBBBBIB")  # year, month, day, hour, minute, second, microsecond, fold
_DAY = struct.Struct("<HBB")
_SPAN = struct.Struct("<iii")  # days, seconds, microseconds


def _sized(tag: bytes, payload: bytes) -> bytes:
    return tag + _U64.pack(len(payload)) + payload


def _int(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return _sized(b"i", value.to_bytes(size, "little", signed=True))


def _zone(value: datetime | time) -> bytes:
    zone = value.tzinfo
    if zone is None:
        return b"-"
    if type(zone) is timezone:
        offset = zone.utcoffset(None)
        name = zone.tzname(None)
        bare = timezone(offset).tzname(None)
        spelled = b"" if name == bare else b"=" + name.encode("utf-8", "surrogatepass")
        return b"o" + _SPAN.pack(offset.days, offset.seconds, offset.microseconds) + spelled
    if type(zone) is ZoneInfo and zone.key:
        return b"z" + zone.key.encode()
    raise refused(f"the zone of {value!r}", f"a {type(zone).__qualname__}")


def _read_zone(data: bytes) -> tzinfo | None:
    kind, rest = data[:1], data[1:]
    if kind == b"-":
        return None
    if kind == b"o":
        offset = timedelta(*_SPAN.unpack(rest[: _SPAN.size]))
        name = rest[_SPAN.size :]
        return (
            timezone(offset, name[1:].decode("utf-8", "surrogatepass"))
            if name
            else timezone(offset)
        )
    if kind == b"z":
        return ZoneInfo(rest.decode())
    raise ValueError(f"no zone starts with {kind!r}")


def _datetime(value: datetime) -> bytes:
    moment = _MOMENT.pack(
        value.year,
        value.month,
        value.day,
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        value.fold,
    )
    return _sized(b"d", moment + _zone(value))


def _read_datetime(data: bytes) -> datetime:
    *parts, fold = _MOMENT.unpack(data[: _MOMENT.size])
    zone = _read_zone(data[_MOMENT.size :])
    return datetime(*parts).replace(tzinfo=zone, fold=fold)


def _time(value: time) -> bytes:
    moment = _MOMENT.pack(
        1, 1, 1, value.hour, value.minute, value.second, value.microsecond, value.fold
    )
    return _sized(b"t", moment + _zone(value))


def _read_time(data: bytes) -> time:
    return _read_datetime(data).timetz()


def _pairs(members: list[Any]) -> dict[Any, Any]:
    return dict(zip(_hashable(members[::2]), members[1::2], strict=True))


_DEEPEST_KEY = 100
_MOST_ALIKE = 100


def _hashable(members: list[Any]) -> list[Any]:
    """The members of a set, or keys of a dict, where making it cannot hang or crash.

    CPython hashes a tuple by recursion that it does not count, so a deep one of a hostile guest
    would overflow the stack; and keys chosen to have one hash take quadratic time. Text and bytes
    are hashed with a secret key, the other types are not.
    """
    level: list[Any] = members
    for _ in range(_DEEPEST_KEY):
        level = [part for item in level if type(item) in (tuple, frozenset) for part in item]
        if not level:
            break
    else:
        raise ValueError(f"a key is nested deeper than {_DEEPEST_KEY}")
    if len(members) > _MOST_ALIKE:
        alike: dict[int, int] = {}
        for member in members:
            number = hash(member)
            alike[number] = alike.get(number, 0) + 1
        if max(alike.values()) > _MOST_ALIKE:
            raise ValueError(f"more than {_MOST_ALIKE} keys have one hash")
    return members


_SINGLES: dict[bytes, object] = {b"N": None, b"T": True, b"F": False}

_LEAVES: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"N",
    bool: lambda value: b"T" if value else b"F",
    int: _int,
    float: lambda value: _sized(b"f", _F64.pack(value)),
    str: lambda value: _sized(b"s", value.encode("utf-8", "surrogatepass")),
    bytes: lambda value: _sized(b"b", value),
    datetime: _datetime,
    date: lambda value: _sized(b"D", _DAY.pack(value.year, value.month, value.day)),
    time: _time,
    timedelta: lambda value: _sized(
        b"x", _SPAN.pack(value.days, value.seconds, value.microseconds)
    ),
}

_READERS: dict[bytes, Callable[[bytes], object]] = {
    b"i": lambda data: int.from_bytes(data, "little", signed=True),
    b"f": lambda data: _F64.unpack(data)[0],
    b"s": lambda data: data.decode("utf-8", "surrogatepass"),
    b"b": bytes,
    b"d": _read_datetime,
    b"D": lambda data: date(*_DAY.unpack(data)),
    b"t": _read_time,
    b"x": lambda data: timedelta(*_SPAN.unpack(data)),
}

_VARIED = frozenset({str, datetime, time})

_CONTAINERS: dict[type, bytes] = {
    list: b"[",
    tuple: b"(",
    dict: b"{",
    set: b"<",
    frozenset: b"|",
}

# What makes the container of its members, and how many values one member is.
_CLOSERS: dict[bytes, tuple[Callable[[list[Any]], object], int]] = {
    b"[": (list, 1),
    b"(": (tuple, 1),
    b"{": (_pairs, 2),
    b"<": (lambda members: set(_hashable(members)), 1),
    b"|": (lambda members: frozenset(_hashable(members)), 1),
}

LEAVES: Iterable[type] = tuple(_LEAVES)
"""The types that hold no other value."""

CONTAINERS: Iterable[type] = tuple(_CONTAINERS)
"""The types that hold others."""

__all__ = [
    "CONTAINERS",
    "LEAVES",
    "ValueCrossingError",
    "check",
    "decode",
    "encode",
    "refused",
    "walk",
]
