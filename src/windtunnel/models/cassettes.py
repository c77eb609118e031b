"""Recorded answers of real servers: kept as readable YAML, given again to the same calls.

A call is known by a hash over what it says: dialect, endpoint, model, system prompt, tools,
messages and tool results, schema and inputs; not by identifiers, headers or the order of calls.
The same call made more than once has its answers in the order in which they were recorded, each
namespace (test) by itself. Keys are never written, and what looks like one is blanked.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
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
        if self.path.exists():
            self._load(read(self.path))

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

    def add(self, call: ModelCall, response: Response) -> None:
        """Record an answer, and write the file."""
        body = response.body
        if not isinstance(body, bytes):
            body = b"".join(chunk.data for chunk in body)
        self.add_raw(call, response.status, response.content_type, body)
        self.save()

    def add_raw(self, call: ModelCall, status: int, content_type: str, body: bytes) -> None:
        """Record an answer of those bytes, without writing the file."""
        text = secrets.scrub(body.decode("utf-8", "replace"), self.hidden)
        asked = _scrubbed(call, self.hidden)
        form, readable = _readable(text, content_type)
        self._insert(Interaction(asked, status, content_type, form, readable, call.namespace))

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
        document = {
            "format": _FORMAT,
            "interactions": [
                {
                    "key": one.key,
                    **({"namespace": one.namespace} if one.namespace else {}),
                    "asked": one.asked,
                    "answered": {
                        "status": one.status,
                        "content_type": one.content_type,
                        one.form: one.body,
                    },
                }
                for one in self.interactions
            ],
        }
        yaml = _yaml()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.dump(document, Dumper=_dumper(yaml), sort_keys=False, allow_unicode=True)
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


_FORMS = ("json", "text", "frames")


def _body_of(answered: Mapping[str, Any]) -> tuple[str, Any]:
    for form in _FORMS:
        if form in answered:
            return form, answered[form]
    raise KeyError("one of json, text and frames")


def _readable(text: str, content_type: str) -> tuple[str, Any]:
    """A body as it is written: JSON parsed, a stream in its frames, anything else as text."""
    if "event-stream" in content_type:
        return "frames", [f"{one}\n\n" for one in text.split("\n\n") if one]
    if "ndjson" in content_type:
        return "frames", [f"{one}\n" for one in text.split("\n") if one]
    try:
        return "json", loads(text.encode())
    except ValueError:
        return "text", text


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
