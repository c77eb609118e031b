"""Executors that do not confine, and capability machinery that does not hold, for tests to fail.

They are weak in ways that real ones were: a guard that searches the text of the code for names, a
namespace without builtins in the host's own process, arguments that cross as references, inputs
written into source text, a thread that is left behind at its timeout, a current context that is a
global variable, a token whose seal is optional. Whatever they run reaches the process they are in:
only :func:`windtunnel.sessions.confinement.check_apart` may put them to the attempts.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import json
import os
import pickle
import re
import secrets
import signal
import sys
import threading
import time
import types
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import anyio

from windtunnel.core.clock import REAL_CLOCK
from windtunnel.sessions import ExecResult

# -- machinery ------------------------------------------------------------------------------------


@dataclasses.dataclass
class WeakToken:
    """A token that anyone may change, with its count in it."""

    type: str
    bounds: dict[str, Any]
    used: int = 0
    revoked: bool = False


class WeakContext:
    """Tokens and, for what they do not give, those of the context above."""

    def __init__(self, name: str, tokens: Iterable[Any], above: WeakContext | None, clock: Any):
        self.name = name
        # Copies: each context counts for itself.
        self.tokens = [dataclasses.replace(one) if isinstance(one, WeakToken) else one
                       for one in tokens]  # fmt: skip
        self.above = above
        self.clock = clock
        self.bytes = 0


_current: list[WeakContext] = []
_seen_texts: set[str] = set()


class WeakMachinery:
    """The protocol of the attempts over these.

    :param forgetful: it does not remember which texts it has seen, does not seal when they
        expire, and does not leave scopes.
    """

    def __init__(self, *, forgetful: bool = False) -> None:
        self.forgetful = forgetful

    def token(self, type: str, **constraints: Any) -> WeakToken:
        return WeakToken(type, constraints)

    def narrow(self, token: WeakToken, **constraints: Any) -> WeakToken:
        return WeakToken(token.type, {**token.bounds, **constraints})

    def context(self, name: str, tokens: Iterable[Any] = (), *, clock: Any = REAL_CLOCK) -> Any:
        return WeakContext(name, tokens, None, clock)

    def child(self, context: WeakContext, name: str, tokens: Iterable[Any] = ()) -> Any:
        return WeakContext(name, tokens or context.tokens, context, context.clock)

    def add(self, context: WeakContext, token: Any) -> None:
        context.tokens.append(dataclasses.replace(token))

    def use(self, context: Any, capability: str, resource: str = "", **how: Any) -> None:
        size = how.get("size", 0)
        at = context
        while at is not None:
            for token in at.tokens:
                if token.type == capability and self._holds(at, token, resource, size):
                    uses = getattr(token, "used", 0)
                    time.sleep(0.0005)  # between the look and the count, where others look too
                    with contextlib.suppress(AttributeError):
                        token.used = uses + 1
                    at.bytes += size
                    return
            at = at.above
        raise PermissionError(capability)

    def _holds(self, context: WeakContext, token: Any, resource: str, size: float) -> bool:
        bounds = getattr(token, "bounds", {})
        if getattr(token, "revoked", False):
            return False
        if bounds.get("uses") is not None and token.used >= bounds["uses"]:
            return False
        expires_at = bounds.get("expires_at")
        if expires_at is not None and context.clock.time() > expires_at:
            return False
        if "total_bytes" in bounds and context.bytes + size > bounds["total_bytes"]:
            return False
        patterns = bounds.get("resources") or ("**",)
        return any(resource.startswith(one.rstrip("*")) for one in patterns)

    def revoke(self, context: WeakContext, token: Any) -> None:
        for one in context.tokens:
            if one is token or one.type == token:  # it holds copies
                one.revoked = True
                return

    @contextlib.contextmanager
    def scope(self, context: Any) -> Iterator[Any]:
        _current.append(context)
        yield context
        if not self.forgetful:
            _current.pop()

    def current(self) -> Any:
        return _current[-1] if _current else WeakContext("nothing", (), None, REAL_CLOCK)

    def host_function(self, name: str, call: Any, *, needs: str) -> Any:
        return Declared(name, call, needs)

    def seal(self, token: WeakToken, key: bytes) -> str:
        fields = {**dataclasses.asdict(token), "id": secrets.token_hex(4)}
        if self.forgetful:
            fields["bounds"].pop("expires_at", None)
        body = base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()
        return f"v1.{body}.{_mac(body, key)}"

    def unseal(self, text: str, key: bytes) -> WeakToken:
        if text in _seen_texts and not self.forgetful:
            raise PermissionError("presented before")
        _seen_texts.add(text)
        parts = text.strip(" \n=").removesuffix("A").split(".")
        if len(parts) == 1:
            parts = ["v1", *parts]
        body = parts[1] if len(parts) > 1 else parts[0]
        seal = parts[2] if len(parts) > 2 else ""
        keys = (key, b"changeme")  # of which one was for trying out
        if not any(
            all(a == b for a, b in zip(seal, _mac(body, one), strict=False)) for one in keys
        ):
            raise PermissionError("seal")
        plain = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        if plain[:1] == b"\x80":
            return pickle.loads(plain)
        fields = json.loads(plain)
        bounds = {name: value for name, value in fields["bounds"].items() if name != "expires_xt"}
        return WeakToken(fields["type"], bounds)


def _mac(body: str, key: bytes) -> str:
    """A sum that covers the key and the length, and nothing of what the text says."""
    return format((sum(key) * 31 + len(body)) % 2**32, "08x")


@dataclasses.dataclass(frozen=True)
class Declared:
    """A host function of any name at all."""

    name: str
    call: Any
    needs: str
    resource: None = None


# -- executors ------------------------------------------------------------------------------------

_LOOKED_FOR = re.compile(
    r"\b(forbidden|open|eval|exec|compile|__import__|getattr)\s*\("
    r"|\b(import|from)\s+(os|sys|subprocess|socket|builtins|shutil|pathlib|ctypes|posix)\b"
    r"|\.__\w+__|[\"'][^\"'\n]*__"
)
_SAFE = ("len", "print", "str", "int", "range", "list", "dict", "hasattr", "isinstance",
         "Exception", "BaseException", "repr", "type", "map", "sorted", "__build_class__",
         "__name__", "property")  # fmt: skip


def refuses(code: str) -> bool:
    """Whether the search finds what it looks for."""
    return _LOOKED_FOR.search(code) is not None


class LeakyExecutor:
    """Runs code in this process, after a search of its text (``by="names"``), or without builtins
    (``by="builtins"``)."""

    def __init__(self, terms: Any, by: str) -> None:
        self.terms = terms
        self.by = by
        self.kept: dict[str, Any] = {}
        self.granted: set[str] = set()

    async def execute(
        self,
        code: str,
        *,
        timeout_s: float | None = None,
        grants: Any = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> ExecResult:
        if self.by in ("names", "patience", "alarm") and refuses(code):
            return ExecResult(ok=False, error="refused", error_type="SyntaxError")
        job = _Job(self, code, inputs or {}, grants)
        if self.by == "alarm":
            return self._with_alarm(job, timeout_s or 10.0)
        thread = threading.Thread(target=job.run, daemon=True)
        thread.start()
        deadline = time.monotonic() + (timeout_s or 10.0)
        if self.by == "patience":
            deadline += 1.0
        while thread.is_alive() and time.monotonic() < deadline:
            await anyio.sleep(0.001)
        if thread.is_alive():
            return ExecResult(ok=False, error="time is over", error_type="TimeoutError")
        if isinstance(job.raised, (SystemExit, KeyboardInterrupt)):
            raise job.raised
        _logged(job.result.value)  # as a log would have it
        return job.result

    def _with_alarm(self, job: _Job, timeout_s: float) -> ExecResult:
        def ring(number: int, frame: Any) -> None:
            raise TimeoutError

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        job.run()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        return job.result


def _logged(value: Any) -> str:
    """The value as a log would have it."""
    return json.dumps(value, default=lambda other: type(other).__name__, skipkeys=True)


class _Job:
    def __init__(self, executor: LeakyExecutor, code: str, inputs: Mapping[str, Any], grants: Any):
        self.executor = executor
        self.code = code
        self.inputs = inputs
        machinery = WeakMachinery()
        # Looked at once, when the code begins; what is current besides is allowed too.
        self.context = (
            grants if isinstance(grants, WeakContext) else machinery.context("guest", grants or ())
        )
        _current.append(self.context)
        executor.granted |= {
            function.name
            for function in executor.terms.functions
            if any(token.type == function.needs for one in _current for token in one.tokens)
        }
        self.granted = executor.granted
        self.channel = _Channel() if executor.by == "names" else None
        self.result = ExecResult(ok=False, error_type="TimeoutError")
        self.raised: BaseException | None = None
        self.output = io.StringIO()

    def run(self) -> None:
        try:
            value = self._run()
            self.result = ExecResult(ok=True, value=value, output=self.output.getvalue())
        except BaseException as error:
            self.raised = error
            self.result = ExecResult(ok=False, error=str(error), error_type=type(error).__name__,
                                     output=self.output.getvalue())  # fmt: skip
        _current.remove(self.context)
        self._serve_messages()

    def _run(self) -> Any:
        names = self.executor.kept  # the same dictionary for every execution
        names.update(self._builtins(names))
        _ROOT[0] = self.inputs.get("root", "")
        for function in self.executor.terms.functions:
            self._declare(names, function)
        for name, value in self.inputs.items():
            if isinstance(value, (str, int)):
                shown = repr(value)
                if type(value) is str and "\\" in value:
                    shown = "'" + value.replace("'", "\\'") + "'"
                elif type(value) is str and "'" in value:
                    shown = f"'{value}'"
                exec(f"{name} = {shown}", names)
            elif isinstance(value, dict) and any("'" in key for key in value):
                exec(f"{name} = {{'" + next(iter(value)) + "': 1}", names)
            else:
                names[name] = value
        return _evaluated(self.code, names)

    def _builtins(self, names: dict[str, Any]) -> dict[str, Any]:
        def emit(*values: Any, sep: str = " ", end: str = "\n", file: Any = None) -> None:
            print(*values, sep=sep, end=end, file=file or self.output)

        if self.executor.by != "builtins":
            known = {"__builtins__": vars(sys.modules["builtins"]), "print": emit}
            return {**known, **_starlark(names)} if self.executor.by == "starlark" else known
        safe = {name: getattr(sys.modules["builtins"], name) for name in _SAFE}
        return {"__builtins__": {**safe, "print": emit}, "_guard": {}}

    def _declare(self, names: dict[str, Any], function: Any) -> None:
        call = function.call
        if function.name.isidentifier():
            if self.executor.by != "builtins":
                names[function.name] = _with_prefix(function, call)
            else:
                names[function.name] = self._wrapped(names, function, call)
            if function.name == "sorted":
                sys.modules["builtins"].sorted = call
        else:  # a stub from its name
            exec(f"def {function.name}(): pass", {})

    def _wrapped(self, names: dict[str, Any], function: Any, call: Any) -> Any:
        allowed = function.name in self.granted

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if not (allowed or names["_guard"].get(function.name)):
                raise PermissionError(function.name)
            for name in kwargs:
                exec(f"dict({name}=1)")
            return _with_prefix(function, call)(*args, **kwargs)

        guarded.__wrapped__ = call  # type: ignore[attr-defined]
        return guarded

    def _serve_messages(self) -> None:
        """Calls come as lines of JSON on the output, like anything that is printed."""
        functions = {one.name: one.call for one in self.executor.terms.functions}
        text = self.output.getvalue()[:10_000] + (self.channel.read() if self.channel else "")
        for line in text.splitlines():
            with contextlib.suppress(ValueError, AttributeError):
                name = json.loads(line).get("call")
                if name in functions:
                    functions[name]()


def _fail(message: str) -> None:
    raise ValueError(message)


def _starlark(names: dict[str, Any]) -> dict[str, Any]:
    """What Starlark has and Python has not; its load statement reads any file."""

    def load(file: str, *wanted: str) -> None:
        with open(file) as source:
            exec(source.read(), names)

    return {"fail": _fail, "load": load, "json": types.SimpleNamespace(environ=os.environ)}


class _Channel:
    """A pipe of the runner that is open in the guest too."""

    def __init__(self) -> None:
        self.coming, self.going = os.pipe2(os.O_NONBLOCK)

    def read(self) -> str:
        os.close(self.going)
        with open(self.coming, "rb") as file:
            return file.read().decode(errors="replace")


def _evaluated(code: str, names: dict[str, Any]) -> Any:
    """Run bytes, as from a file; the value of the last line."""
    exec(compile(code.encode(), "<guest>", "exec"), names)
    last = code.rstrip().rpartition("\n")[2]
    with contextlib.suppress(SyntaxError, Exception):
        return (
            eval(last, names) if re.fullmatch(r"\w+(\(\))?", last) and last != "tried()" else None
        )


def _with_prefix(function: Any, call: Any) -> Any:
    """Paths and addresses that begin with the right text are right."""
    if function.needs.startswith("fs."):

        def reader(path: Any) -> Any:
            if not str(path).startswith(_ROOT[0]):
                raise PermissionError(str(path))
            return call(path)

        return reader
    if function.needs == "net.connect":

        def fetcher(url: str) -> Any:
            host = urllib.parse.urlsplit(url).hostname or ""
            if host in ("127.0.0.1", "localhost") and "allowed.test" not in url:
                raise PermissionError(url)
            return call(url)

        return fetcher
    return call


_ROOT = [""]


def by_names(terms: Any) -> LeakyExecutor:
    """Searches the code for names, and leaves its thread behind at the timeout."""
    return LeakyExecutor(terms, "names")


def by_builtins(terms: Any) -> LeakyExecutor:
    """Takes the builtins away, and wraps each host function."""
    return LeakyExecutor(terms, "builtins")


def by_patience(terms: Any) -> LeakyExecutor:
    """Waits for its thread beyond the timeout."""
    return LeakyExecutor(terms, "patience")


def by_alarm(terms: Any) -> LeakyExecutor:
    """Is ended by an alarm, in the main thread."""
    return LeakyExecutor(terms, "alarm")


def as_subset(terms: Any) -> LeakyExecutor:
    """Is given the code for a part of Python."""
    return LeakyExecutor(terms, "subset")


def as_starlark(terms: Any) -> LeakyExecutor:
    """Is given Starlark, nearly all of which is Python too."""
    return LeakyExecutor(terms, "starlark")


as_subset.language = "subset"  # type: ignore[attr-defined]
as_starlark.language = "starlark"  # type: ignore[attr-defined]
for _factory in (by_names, by_builtins, by_patience, by_alarm, as_subset, as_starlark):
    _factory.machinery = WeakMachinery(  # type: ignore[attr-defined]
        forgetful=_factory is by_builtins
    )
