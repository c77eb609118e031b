"""Recorded answers of real servers: kept as readable YAML, given again to the same calls.

A call is known by a hash over what it says: dialect, endpoint, model, system prompt, tools,
messages and tool results, schema and inputs; not by identifiers, headers or the order of calls.
The same call made more than once has its answers in the order in which they were recorded, each
namespace (test) by itself. Keys are never written, and what looks like one is blanked.
"""

from __future__ import annotations

import dataclasses
import difflib
import fcntl
import hashlib
import json
import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UsageError
from windtunnel.models import secrets
from windtunnel.models.files import read
from windtunnel.models.files import yaml_library as _yaml
from windtunnel.models.jsonio import dumps, loads
from windtunnel.models.protocol import Chunk, ModelCall, Response

_FORMAT = 1
_HASH = 16


def canonical(call: ModelCall) -> dict[str, Any]:
    """What a call says, in one order, without what changes from run to run (identifiers)."""
    asked: dict[str, Any] = {
        "dialect": call.dialect,
        "endpoint": call.endpoint,
        "model": call.model,
        "stream": call.stream,
    }
    if call.system:
        asked["system"] = call.system
    if call.messages:
        asked["messages"] = [_message(message) for message in call.messages]
    if call.inputs:
        asked["inputs"] = list(call.inputs)
    if call.tools:
        asked["tools"] = [{"name": one.name, "schema": one.schema} for one in call.tools]
    if call.schema is not None:
        asked["schema"] = call.schema
    # As JSON says it, so that what is read from a file is equal to what was written.
    plain: dict[str, Any] = loads(dumps(asked))
    return plain


def _message(message: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role}
    if message.text:
        said["text"] = message.text
    if message.tool_calls:
        said["tool_calls"] = [
            {"name": one.name, "arguments": one.arguments} for one in message.tool_calls
        ]
    if message.tool_results:
        said["tool_results"] = [
            {"name": one.name, "content": one.content} for one in message.tool_results
        ]
    if message.images:
        said["images"] = [hashlib.sha256(one.encode()).hexdigest() for one in message.images]
    return said


def key_of(asked: Mapping[str, Any]) -> str:
    """The hash a call is known by."""
    return hashlib.sha256(dumps(_sorted(asked))).hexdigest()[:_HASH]


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(one) for one in value] if isinstance(value, list) else value


@dataclasses.dataclass(slots=True)
class Interaction:
    """One call and its answer.

    :param asked: what the call said, see :func:`canonical`.
    :param form: how its body is written: ``json``, ``text``, or ``frames`` of a stream.
    :param body: the body in that form.
    """

    asked: dict[str, Any]
    status: int
    content_type: str
    form: str
    body: Any
    namespace: str = ""

    @property
    def key(self) -> str:
        """The hash of what was asked."""
        return key_of(self.asked)

    def response(self) -> Response:
        """The answer, to be sent."""
        if self.form == "frames":
            frames = [Chunk(str(one).encode(), 1) for one in self.body]
            return Response(self.status, frames, self.content_type)
        if self.form == "text":
            return Response(self.status, str(self.body).encode(), self.content_type)
        return Response(self.status, dumps(self.body), self.content_type)


def _scrubbed(call: ModelCall, hidden: Iterable[str]) -> dict[str, Any]:
    """What a call says, without secrets. A call is scrubbed when it is recorded and when it is
    looked for, so that its hash is the same."""
    asked: dict[str, Any] = loads(secrets.scrub(dumps(canonical(call)).decode(), hidden).encode())
    return asked


class Cassette:
    """The recorded interactions of one file.

    :param path: a YAML file; it need not exist to be recorded.
    :raises UsageError: when the file is no cassette.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.hidden: tuple[str, ...] = ()
        """Texts that are blanked besides what looks like a secret."""
        self.interactions: list[Interaction] = []
        self._by_key: dict[tuple[str, str], list[Interaction]] = {}
        self._given: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        self._appendable = self.path.suffix != ".json"
        if self.path.exists():
            self._load(read(self.path))
            text = self.path.read_text(encoding="utf-8")
            # As it is written here, and not, say, with brackets: then it goes on at its end.
            self._appendable &= bool(_OURS.fullmatch(text))

    def find(self, call: ModelCall) -> Interaction | None:
        """The next recorded answer to such a call; the last again when there are no more."""
        key = key_of(_scrubbed(call, self.hidden))
        with self._lock:
            for namespace in (call.namespace, ""):
                known = self._by_key.get((namespace, key))
                if known:
                    number = self._given.get((call.namespace, key), 0)
                    self._given[call.namespace, key] = number + 1
                    return known[min(number, len(known) - 1)]
        return None

    def add(self, call: ModelCall, status: int, content_type: str, body: bytes) -> None:
        """Record an answer, and write it to the end of the file: what other processes have written
        there meanwhile stays."""
        one = self.add_raw(call, status, content_type, body)
        if not self._appendable:
            self.save()
            return
        text = _written([one])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self.path.open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not self.path.stat().st_size:
                file.write(f"format: {_FORMAT}\ninteractions:\n")
            file.write(text)

    def add_raw(self, call: ModelCall, status: int, content_type: str, body: bytes) -> Interaction:
        """Record an answer of those bytes, without writing the file."""
        text = secrets.scrub(body.decode("utf-8", "replace"), self.hidden)
        asked = _scrubbed(call, self.hidden)
        form, readable = _readable(text, content_type)
        one = Interaction(asked, status, content_type, form, readable, call.namespace)
        self._insert(one)
        return one

    def nearest(self, call: ModelCall) -> str:
        """How a call differs from the recorded one most like it."""
        asked = _lines(canonical(call))
        if not self.interactions:
            return f"{self.path} has no recorded calls"
        known = max(
            (_lines(one.asked) for one in self.interactions),
            key=lambda lines: difflib.SequenceMatcher(None, lines, asked).ratio(),
        )
        diff = difflib.unified_diff(known, asked, "recorded", "asked", lineterm="", n=1)
        return "\n".join(diff)

    def save(self) -> None:
        """Write the file."""
        with self._lock:  # to the end: calls at once would write over each other's file
            known = self.interactions
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.suffix == ".json":
                document = {"format": _FORMAT, "interactions": [_plain(one) for one in known]}
                text = json.dumps(document, indent=1, ensure_ascii=False)
            else:
                text = f"format: {_FORMAT}\ninteractions:\n" + (_written(known) if known else "")
            part = self.path.with_name(self.path.name + ".part")
            part.write_text(text, encoding="utf-8")
            part.replace(self.path)

    def _insert(self, one: Interaction) -> None:
        with self._lock:
            self.interactions.append(one)
            self._by_key.setdefault((one.namespace, one.key), []).append(one)

    def _load(self, document: Any) -> None:
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            raise UsageError(
                f"{self.path} is no cassette of format {_FORMAT}",
                found=str(document)[:80],
                fix="import a cassette of VCR.py with `import_vcr`",
            )
        for number, entry in enumerate(document.get("interactions") or ()):
            try:
                answered = entry["answered"]
                one = Interaction(
                    entry["asked"],
                    int(answered["status"]),
                    str(answered["content_type"]),
                    *_body_of(answered),
                    str(entry.get("namespace", "")),
                )
            except (KeyError, TypeError, ValueError) as error:
                raise UsageError(
                    f"{self.path}: interactions[{number}] is incomplete", found=repr(error)
                ) from None
            self._insert(one)


def _written(interactions: Iterable[Interaction]) -> str:
    """Interactions as items of a YAML list."""
    yaml = _yaml()
    items = [_plain(one) for one in interactions]
    text: str = yaml.dump(items, Dumper=_dumper(yaml), sort_keys=False, allow_unicode=True)
    return text


def _plain(one: Interaction) -> dict[str, Any]:
    return {
        "key": one.key,
        **({"namespace": one.namespace} if one.namespace else {}),
        "asked": one.asked,
        "answered": {
            "status": one.status,
            "content_type": one.content_type,
            one.form: one.body,
        },
    }


_FORMS = ("json", "text", "frames")


def _body_of(answered: Mapping[str, Any]) -> tuple[str, Any]:
    for form in _FORMS:
        if form in answered:
            return form, answered[form]
    raise KeyError("one of json, text and frames")


def _readable(text: str, content_type: str) -> tuple[str, Any]:
    """A body as it is written: JSON parsed, a stream in its frames, anything else as text."""
    end = frame_end(content_type)
    if end is not None:
        frames = split(text.encode("utf-8", "replace"), end)
        return "frames", [frame.decode() for frame in frames if frame]
    try:
        return "json", loads(text.encode())
    except ValueError:
        return "text", text


def frame_end(content_type: str) -> re.Pattern[bytes] | None:
    """What ends a frame of a stream of that content type; None where it is no stream.

    >>> frame_end("text/event-stream") is None, frame_end("application/json") is None
    (False, True)
    """
    if "event-stream" in content_type:
        return _EVENT_END
    return _LINE_END if "ndjson" in content_type else None


# Lines of events end as their server likes; Google's do with CR and LF.
_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE_END = re.compile(rb"\n")
_OURS = re.compile(r"format: \d+\ninteractions:\n(-.*\n(?s:.*\n)?)?")


def split(data: bytes, end: re.Pattern[bytes]) -> list[bytes]:
    """Frames, each with its end, and last what has no end yet.

    >>> split(b"one\\n\\ntwo\\r\\n\\r\\nthr", _EVENT_END)
    [b'one\\n\\n', b'two\\r\\n\\r\\n', b'thr']
    """
    frames, begin = [], 0
    for match in end.finditer(data):
        frames.append(data[begin : match.end()])
        begin = match.end()
    return [*frames, data[begin:]]


def _lines(asked: Mapping[str, Any]) -> list[str]:
    text: str = _yaml().safe_dump(_sorted(asked), allow_unicode=True)
    return text.splitlines()


def _dumper(yaml: Any) -> Any:
    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        """Writes texts of several lines as blocks."""

    def text(dumper: Any, value: str) -> Any:
        style = "|" if "\n" in value.strip("\n") and not value.endswith("\n\n") else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper


__all__ = ["Cassette", "Interaction", "canonical", "key_of"]
