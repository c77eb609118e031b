"""Scripts in a file, YAML or JSON, read again when it changes.

models: [gpt-4o, llama3.2]
scripts:
  - on: {contains: weather}
    reply: Sunny.
  - on: {tool_result: true}
    reply: [First., Second.]
    then: repeat
  - on: {model: gpt-4o, nth: 3}
    error: {status: 429, retry_after_s: 1}
  - reply: {text: "", tool_calls: [{name: search, arguments: {q: x}}]}
    latency: 0.2
scenarios:
  trip:
    - on: {contains: flight}
      reply: Where to?
"""

from __future__ import annotations

import difflib
import functools
import importlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import MissingExtraError, UsageError
from windtunnel.core.faults import Fault
from windtunnel.models import faults
from windtunnel.models.answers import Shaped
from windtunnel.models.pace import Pace
from windtunnel.models.protocol import Reply, ToolCall, Usage
from windtunnel.models.scenario import Scenario
from windtunnel.models.script import Script

if TYPE_CHECKING:
    from windtunnel.models.core import ModelCore

_LOOKED_S = 0.05
_TOP = ("models", "scripts", "scenarios", "latency", "tokens_per_s", "api_key")
_ENTRY = ("on", "reply", "shaped", "error", "latency", "tokens_per_s", "faults", "then", "times")
_ON = (
    "text", "model", "contains", "matches", "system", "tool_result", "tools", "nth", "kind",
    "dialect", "endpoint", "namespace", "stream",
)  # fmt: skip
_REPLY = ("text", "thinking", "tool_calls", "finish", "usage", "refusal", "pieces", "extra")


def read(path: Path) -> Any:
    """What a YAML or JSON file holds.

    :raises UsageError: when it cannot be read, or is neither.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError("a file of scripts cannot be read", found=str(error)) from None
    return _parsed(path, data)


def _parsed(path: Path, data: bytes) -> Any:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8", found=str(error)) from None
    try:
        if path.suffix == ".json":
            return json.loads(text)
        library = yaml_library()
        return library.load(text, Loader=_loader(library))
    except ValueError as error:
        raise UsageError(f"{path} is not JSON", found=str(error)) from None
    except yaml_library().YAMLError as error:
        raise UsageError(f"{path} is not YAML", found=str(error)) from None


def yaml_library() -> Any:
    """PyYAML.

    :raises MissingExtraError: where it is not installed.
    """
    try:
        return importlib.import_module("yaml")
    except ImportError:
        raise MissingExtraError("models", needed_for="reading or writing YAML") from None


@functools.cache
def _loader(library: Any) -> Any:
    """A safe loader to which only true and false are booleans, as in YAML 1.2: the key ``on`` and
    the answer ``yes`` are words."""

    class Loader(library.SafeLoader):  # type: ignore[misc]
        """Reads plain data."""

    known = library.SafeLoader.yaml_implicit_resolvers
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if not tag.endswith(":bool")]
        for first, pairs in known.items()
    }
    booleans = re.compile("^(?:true|True|TRUE|false|False|FALSE)$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", booleans, list("tTfF"))
    return Loader


class ScriptFile:
    """A file of scripts in use by a server.

    :param path: ``.yaml``, ``.yml`` or ``.json``.
    :raises UsageError: saying which entry of which file cannot be meant, and why.
    """

    def __init__(self, path: str | Path, core: ModelCore) -> None:
        self.path = Path(path)
        self._core = core
        self._scripts: list[Script] = []
        self._seen: bytes | None = None
        self._looked = 0.0
        self._looking = threading.Lock()
        self.problem: UsageError | None = None
        """Why the file as it is now is not in use; the scripts read before then still are."""
        self.on_reload: Callable[[ScriptFile], None] | None = None
        """Called when the file has been read again, with or without success."""
        self.load()

    def load(self) -> None:
        """Read the file, and have its scripts instead of those it had before."""
        try:
            self._seen = self.path.read_bytes()
        except OSError as error:
            self._seen = None
            raise UsageError("a file of scripts cannot be read", found=str(error)) from None
        document = _parsed(self.path, self._seen)
        made = _Reader(self.path, self._core)
        try:
            made.document(document)
        except UsageError:
            made.undo()
            raise
        for script in self._scripts:
            self._core.scripts.remove(script)
        self._scripts = made.scripts

    def look(self) -> None:
        """Read the file again if it has changed; called before each request, in any thread."""
        now = self._core.clock.monotonic()
        if now - self._looked < _LOOKED_S or not self._looking.acquire(blocking=False):
            return
        try:
            self._looked = now
            self._look()
        finally:
            self._looking.release()

    def _look(self) -> None:
        # Its bytes, and not its time and size: they are the same where it is written twice within
        # a tick of the file system's clock. An empty file is about to be written.
        if self._data() in (self._seen, b""):
            return
        try:
            self.load()
            self.problem = None
        except UsageError as error:
            self.problem = error
        if self.on_reload is not None:
            self.on_reload(self)

    @property
    def count(self) -> int:
        """How many scripts of it are in use."""
        return len(self._scripts)

    def _data(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except OSError:
            return None


class _Reader:
    """Makes scripts of a document, noting where in it each stands."""

    def __init__(self, path: Path, core: ModelCore) -> None:
        self.scripts: list[Script] = []
        self._path = path
        self._core = core

    def undo(self) -> None:
        for script in self.scripts:
            self._core.scripts.remove(script)

    def document(self, document: Any) -> None:
        if isinstance(document, list):
            document = {"scripts": document}
        top = self._mapping(document if document is not None else {}, "", _TOP)
        for number, entry in enumerate(self._list(top.get("scripts", []), "scripts")):
            self._script(entry, f"scripts[{number}]", None)
        scenarios = self._mapping(top.get("scenarios", {}), "scenarios", None)
        for name, turns in scenarios.items():
            scenario = Scenario(str(name), self._core)
            for number, entry in enumerate(self._list(turns, f"scenarios.{name}")):
                self._script(entry, f"scenarios.{name}[{number}]", scenario)
        for name in self._list(top.get("models", []), "models"):
            self._core.state.models.add(str(name))
        if "api_key" in top:
            self._core.api_key = str(top["api_key"])
        pace = self._pace(top, "")
        if pace is not None:
            self._core.pace = pace

    def _script(self, entry: Any, where: str, scenario: Scenario | None) -> None:
        given = self._mapping(entry, where, _ENTRY)
        on = self._mapping(given.get("on", {}), f"{where}.on", _ON)
        try:
            if scenario is None:
                script = self._core.scripts.on(**on, written=f"{self._path}: {where}")
            else:
                script = scenario.turn(**on, written=f"{self._path}: {where}")
            self.scripts.append(script)
            self._answer(script, given, where)
        except UsageError as error:
            if error.what.startswith(str(self._path)):
                raise
            raise UsageError(
                f"{self._path}: {where}: {error.what}", found=error.found, fix=error.fix
            ) from None

    def _answer(self, script: Script, given: Mapping[str, Any], where: str) -> None:
        kinds = [word for word in ("reply", "shaped", "error") if word in given]
        if len(kinds) != 1:
            raise self._wrong(
                where, "needs one of reply, shaped and error", ", ".join(kinds) or "none"
            )
        if kinds == ["error"]:
            fields = ("status", "message", "kind", "retry_after_s")
            error = self._mapping(given["error"], f"{where}.error", fields)
            script.error(**error, times=given.get("times"))
            return
        if kinds == ["shaped"]:
            fixed = given["shaped"] if isinstance(given["shaped"], dict) else {}
            answers: list[Any] = [Shaped(fixed)]
        else:
            said = given["reply"]
            several = said if isinstance(said, list) else [said]
            answers = [self._reply(one, f"{where}.reply") for one in several]
        script.reply(
            *answers,
            latency=self._pace(given, where),
            faults=[
                self._fault(one, f"{where}.faults")
                for one in self._list(given.get("faults", []), f"{where}.faults")
            ],
            times=given.get("times"),
            then=given.get("then", ""),
        )

    def _reply(self, said: Any, where: str) -> Any:
        if not isinstance(said, dict):
            return said if isinstance(said, str) else str(said)
        parts = dict(self._mapping(said, where, _REPLY))
        calls = []
        for one in self._list(parts.pop("tool_calls", []), f"{where}.tool_calls"):
            calls.append(ToolCall(**self._mapping(one, where, ("name", "arguments", "id", "text"))))
        if "usage" in parts:
            fields = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
            parts["usage"] = Usage(**self._mapping(parts["usage"], f"{where}.usage", fields))
        if "pieces" in parts:
            parts["pieces"] = tuple(parts["pieces"])
        return Reply(tool_calls=tuple(calls), **parts)

    def _fault(self, said: Any, where: str) -> Fault:
        if isinstance(said, str):
            return faults.fault(said)
        given = dict(self._mapping(said, where, None))
        return faults.fault(str(given.pop("verb", "")), **given)

    def _pace(self, given: Mapping[str, Any], where: str) -> Pace | None:
        if "latency" not in given and "tokens_per_s" not in given:
            return None
        return Pace(given.get("latency", 0.0), given.get("tokens_per_s"))

    def _mapping(self, value: Any, where: str, known: tuple[str, ...] | None) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(where, "is a mapping", repr(value)[:80])
        for name in value:
            if known is not None and name not in known:
                close = difflib.get_close_matches(str(name), known, n=1)
                fix = f"did you mean {close[0]}?" if close else f"use {', '.join(known)}"
                raise self._wrong(where, "has an unknown field", repr(name), fix)
        return value

    def _list(self, value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            raise self._wrong(where, "is a list", repr(value)[:80])
        return value

    def _wrong(self, where: str, what: str, found: str, fix: str = "") -> UsageError:
        return UsageError(f"{self._path}: {where or 'the file'} {what}", found=found, fix=fix)


__all__ = ["ScriptFile", "read", "yaml_library"]
