"""What a guest of monty has before its own code: the function that its values leave by.

Monty hands a function, an iterator or an open file to the host as the text that describes it. The
function looks at every value where its type is still known, so that none leaves in disguise. Its
helpers are bound as defaults: the guest's code may use their names for something else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, time, timezone
from typing import Any

from windtunnel.sessions.engines.outcome import crossable, no_surrogates
from windtunnel.sessions.values import ValueCrossingError, refused

OUT = "__wt_out"
HOST = "__wt_host"
ARGS = "__wt_args"
KWARGS = "__wt_kwargs"
DEEPEST = 900
"""Monty carries some more containers within one another, and puts a text in place of the rest."""

_SOURCE = """
import datetime as __wt_datetime

def __wt_loops(value, type=type, dict=dict, id=id, holders=(list, tuple, set, frozenset, dict)):
    above = set()
    todo = [(value, False)]
    while todo:
        item, done = todo.pop()
        if type(item) not in holders:
            continue
        if done:
            above.discard(id(item))
        elif id(item) in above:
            return True
        else:
            above.add(id(item))
            todo.append((item, True))
            members = item.values() if type(item) is dict else item
            for member in members:
                todo.append((member, False))
    return False

def __wt_out(
    value,
    leaves=(type(None), bool, int, float, str, bytes, __wt_datetime.datetime, __wt_datetime.date,
            __wt_datetime.time, __wt_datetime.timedelta),
    holders=(list, tuple, set, frozenset),
    dict=dict, type=type, id=id, loops=__wt_loops,
):
    if type(value) in leaves:
        return (True, value)
    todo = [value]
    seen = set()
    while todo:
        item = todo.pop()
        kind = type(item)
        if kind in leaves:
            continue
        if kind is not dict and kind not in holders:
            return (False, 'a ' + kind.__name__)
        if id(item) in seen:
            if loops(value):
                return (False, 'a container that holds itself')
            continue
        seen.add(id(item))
        if kind is dict:
            todo.extend(item.keys())
            todo.extend(item.values())
        else:
            todo.extend(item)
    return (True, value)
"""

_FUNCTION = """
def {name}(*args, __wt_host={host}, __wt_out={out}, **kwargs):
    return __wt_host('{name}', __wt_out((args, kwargs)))
"""


_HOLDERS = (list, tuple, dict, set, frozenset)


def source(functions: Sequence[str]) -> str:
    """The code to run before any of the guest's, with its host functions by these names."""
    return _SOURCE + "".join(_FUNCTION.format(name=name, host=HOST, out=OUT) for name in functions)


def holdable(value: Any, what: str = "value") -> Any:
    """The value itself, where monty holds it as it is.

    :raises ValueCrossingError: where it does not, naming the place in it.
    """
    crossable(value, what, _unfit, DEEPEST)
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict | set | frozenset):
            if sum(map(_has_nan, item)) > 1:
                raise refused(
                    f"a {type(item).__name__} in {what}",
                    "one with several nan, which are the same to monty",
                )
            todo += item.values() if isinstance(item, dict) else ()
        elif isinstance(item, list | tuple):
            todo += [member for member in item if isinstance(member, _HOLDERS)]
    return value


def _unfit(leaf: object) -> str:
    if not isinstance(leaf, datetime | time):
        return no_surrogates(leaf)
    kind = type(leaf).__name__
    if leaf.fold:
        return f"a {kind} with fold=1, which monty drops"
    if leaf.tzinfo is None:
        return ""
    if not isinstance(leaf.tzinfo, timezone):
        return f"a {kind} in a ZoneInfo, of which monty keeps the offset alone"
    offset = leaf.tzinfo.utcoffset(None)
    return f"a {kind} in a zone off by {offset}" if offset.microseconds else ""


def _has_nan(key: object) -> bool:
    if isinstance(key, tuple | frozenset):
        return any(map(_has_nan, key))
    return isinstance(key, float) and math.isnan(key)


def value_of(left: object, checked: bool) -> Any:
    """The value of code that ended with what ``left``.

    :param checked: whether it left through the guest's function.
    :raises ValueCrossingError: for one that cannot leave as what it is.
    """
    if left is None:
        return None
    if not checked:
        # This interpreter could not parse the code, so nothing looked at the value in the guest.
        if type(left) in (bool, int, float):
            return left
        raise refused("value", "the value of code in a syntax newer than this Python's")
    return crossable(_opened(left, "value"), deepest=DEEPEST)


def arguments_of(
    name: object, packed: object, functions: Sequence[str]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a host call; a hostile guest can make one by itself, of anything.

    :raises ValueCrossingError: for what cannot leave, or is no call.
    """
    if name not in functions:
        raise NameError(f"there is no host function {str(name)[:100]!r}")
    what = f"an argument of {name}"
    both = crossable(_opened(packed, what), what, deepest=DEEPEST)
    if not (isinstance(both, tuple) and len(both) == 2):
        raise refused(f"an argument of {name}", "no arguments")
    args, kwargs = both
    if not (isinstance(args, tuple) and isinstance(kwargs, dict)):
        raise refused(f"an argument of {name}", "no arguments")
    return args, kwargs


def _opened(left: object, what: str) -> object:
    if isinstance(left, tuple) and len(left) == 2 and isinstance(left[0], bool):
        crosses, value = left
        if crosses:
            return value
        raise refused(what, str(value))
    raise refused(what, "not what the guest's own function gives")


__all__ = [
    "ARGS",
    "HOST",
    "KWARGS",
    "OUT",
    "ValueCrossingError",
    "arguments_of",
    "source",
    "value_of",
]
