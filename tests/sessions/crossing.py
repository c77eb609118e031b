"""Values that cross, drawn by Hypothesis, and equality that sees every difference."""

from __future__ import annotations

import math
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

zones = st.one_of(
    st.none(),
    st.just(UTC),
    st.builds(
        timezone,
        st.timedeltas(min_value=timedelta(hours=-23), max_value=timedelta(hours=23)),
        st.text(max_size=5),
    ),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu"]).map(ZoneInfo),
)
text = st.text(st.characters(exclude_categories=[]))  # lone surrogates too
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(10**600), max_value=10**600),
    st.floats(),
    text,
    st.binary(),
    st.datetimes(timezones=zones, allow_imaginary=True),
    st.dates(),
    st.times(timezones=zones),
    st.timedeltas(),
)
hashables = leaves | st.tuples(leaves, st.frozensets(leaves, max_size=2))
everything = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(hashables, inner, max_size=4),
        st.sets(hashables, max_size=4),
        st.frozensets(hashables, max_size=4),
    ),
    max_leaves=8,
)


def same(a: object, b: object) -> bool:
    """Equal with equal types all the way down, nan like nan, -0.0 unlike 0.0."""
    return exact(a) == exact(b)


def exact(value: object) -> object:
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else value.hex())
    if isinstance(value, list | tuple):
        return (type(value).__name__, [exact(item) for item in value])
    if isinstance(value, dict):
        return ("dict", [(exact(key), exact(item)) for key, item in value.items()])
    if isinstance(value, set | frozenset):
        return (type(value).__name__, sorted(repr(exact(item)) for item in value))
    if isinstance(value, datetime | time):
        return (type(value).__name__, value.replace(tzinfo=None), value.fold, zone(value.tzinfo))
    return (type(value).__name__, value)


def zone(info: tzinfo | None) -> object:
    if isinstance(info, timezone):
        return (info.utcoffset(None), info.tzname(None))
    return info
