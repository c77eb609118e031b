"""Requests made wrong on purpose, from one that is right, to prove that none breaks a server."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from windtunnel.models.core import ModelCore
from windtunnel.models.protocol import HttpRequest, Plan

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e300, 2**70, "", " ", "x", "\x00", "💥" * 3, [], {}, [[]],
    [None], {"type": "text"}, {"role": "wizard"}, ["a", 1], {"a": {"b": []}}, "user", "tool_use",
)  # fmt: skip
BROKEN = (
    b"", b"{", b"[]", b"null", b"1", b'"x"', b"{}", b"\xff\xfe", b'{"a":1}}', b"{'a': 1}",
    b'{"messages": [', b"[" * 4000, b'{"a":' * 600, b'{"model": "\\ud800"}', b"NaN", b"\x00" * 64,
)  # fmt: skip


def bodies(valid: Any, count: int, seed: int = 7) -> Iterator[bytes]:
    """``count`` bodies: bytes that are no JSON, then the valid one with parts of it changed."""
    chance = random.Random(seed)
    yield from BROKEN[:count]
    for _ in range(count - len(BROKEN)):
        if chance.random() < 0.1:
            whole = json.dumps(valid).encode()
            yield whole[: chance.randrange(len(whole))]
            continue
        changed = copy.deepcopy(valid)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            _change(changed, chance)
        yield json.dumps(changed).encode()


def _change(value: Any, chance: random.Random) -> None:
    """Change one place somewhere inside."""
    while True:
        if isinstance(value, dict) and value:
            key: Any = chance.choice(list(value))
        elif isinstance(value, list) and value:
            key = chance.randrange(len(value))
        else:
            return
        inner = value[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.7:
            value = inner
            continue
        what = chance.random()
        if what < 0.25:
            del value[key]
        elif what < 0.4 and isinstance(value, dict):
            value[chance.choice(("extra", "Model", "", "type", "content"))] = copy.deepcopy(
                chance.choice(ODD)
            )
        elif what < 0.5 and isinstance(value, list):
            value.append(copy.deepcopy(inner))
        else:
            value[key] = copy.deepcopy(chance.choice(ODD))
        return


def answered(core: ModelCore, request: HttpRequest) -> tuple[int, bytes]:
    """The status and the body (framed as it was sent) of an answer."""
    plan = core.handle(request)
    assert isinstance(plan, Plan)
    whole = b"".join(step.data for step in plan.steps)
    head, _, body = whole.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body
