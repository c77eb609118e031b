"""Host functions: what a guest may call, each guarded by a capability."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import keyword
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any, TypeAlias

from windtunnel.core.errors import UsageError
from windtunnel.sessions.capabilities.current import current_context
from windtunnel.sessions.capabilities.held import CapabilityUse

Of: TypeAlias = str | Callable[[Mapping[str, Any]], Any] | None
"""The name of a parameter, or a function of the arguments by name."""


@dataclasses.dataclass(frozen=True)
class HostFunction:
    """A function that guests may call, where the current context allows it.

    Called, it asks the current context for one use of ``needs``, and runs only then. A parameter
    named by ``resource`` is handed on in the normal form that was judged, so that what is opened is
    what was allowed, and no ``..`` is read twice in two ways.

    :param name: what guests call it: an identifier.
    :param call: the function, sync or async.
    :param needs: the type of capability that a call uses once.
    :param operation: the operation that the use is of.
    :param resource: what the use is on: the name of a parameter, or a function of the arguments by
        name; None for nothing.
    :param size: likewise, how many bytes; a parameter that holds bytes or text counts by length.
    :raises UsageError: for a name that is none, or a parameter that the function does not have.

    >>> from windtunnel.sessions import CapabilityContext
    >>> read = HostFunction("read", lambda path: f"<{path}>", needs="fs.read", resource="path")
    >>> context = CapabilityContext("root")
    >>> token = context.grant("fs.read", resources="/data/**")
    >>> with context.scope():
    ...     read("/data/x/../a.csv")
    '</data/a.csv>'
    >>> read("/data/a.csv")
    Traceback (most recent call last):
        ...
    windtunnel.sessions.errors.CapabilityDenied: not allowed: fs.read call on '/data/a.csv'
    ...
    """

    name: str
    call: Callable[..., Any]
    needs: str = dataclasses.field(kw_only=True)
    operation: str = dataclasses.field(default="call", kw_only=True)
    resource: Of = dataclasses.field(default=None, kw_only=True)
    size: Of = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self.name.isascii() or keyword.iskeyword(self.name):
            raise UsageError("a host function's name is an identifier", found=ascii(self.name))
        if not isinstance(self.needs, str) or not self.needs:
            raise UsageError(f"{self.name} needs no capability", fix='say needs="fs.read"')
        for role in ("resource", "size"):
            parameter = getattr(self, role)
            if isinstance(parameter, str) and not self._has(parameter):
                raise UsageError(
                    f"the {role} of the host function {self.name} is no parameter of it",
                    found=repr(parameter),
                    fix=f"one of {', '.join(self._parameters) or 'none: give a function'}",
                )

    @property
    def is_async(self) -> bool:
        """Whether a call gives an awaitable."""
        return inspect.iscoroutinefunction(self.call)

    @property
    def doc(self) -> str:
        """What it says of itself."""
        return inspect.getdoc(self.call) or ""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it under the current context.

        :raises CapabilityDenied: where that does not allow it; the function was not called.
        :raises TypeError: for arguments that it does not take.
        """
        return self.invoke(args, kwargs)

    def invoke(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """The same, with the arguments as they come from a guest."""
        if self._signature is None:
            given: dict[str, Any] = {"args": tuple(args), **(kwargs or {})}
            return _metered(self.call, args, kwargs or {}, self._admit(given))
        bound = self._signature.bind(*args, **(kwargs or {}))
        bound.apply_defaults()
        use = self._admit(bound.arguments)
        if isinstance(self.resource, str) and bound.arguments[self.resource] is not None:
            bound.arguments[self.resource] = use.resource
        return _metered(self.call, bound.args, bound.kwargs, use)

    def _admit(self, arguments: Mapping[str, Any]) -> CapabilityUse:
        resource = _of(self.resource, arguments)
        return current_context().take(
            self.needs,
            "" if resource is None else resource,
            operation=self.operation,
            size=_count(_of(self.size, arguments)),
        )

    def _has(self, parameter: str) -> bool:
        return self._signature is not None and parameter in self._signature.parameters

    @property
    def _parameters(self) -> list[str]:
        return list(self._signature.parameters) if self._signature else []

    @functools.cached_property
    def _signature(self) -> inspect.Signature | None:
        try:
            return inspect.signature(self.call)
        except (TypeError, ValueError):  # of a builtin that tells none
            return None


def host_function(
    *,
    needs: str,
    operation: str = "call",
    resource: Of = None,
    size: Of = None,
    name: str = "",
) -> Callable[[Callable[..., Any]], HostFunction]:
    """Make a function a :class:`HostFunction`; the parameters are the same.

    >>> @host_function(needs="fs.write", operation="write", resource="path", size="data")
    ... def save(path: str, data: bytes) -> None:
    ...     "Keep it."
    >>> save.name, save.needs, save.doc
    ('save', 'fs.write', 'Keep it.')
    """

    def make(function: Callable[..., Any]) -> HostFunction:
        return HostFunction(
            name or function.__name__,
            function,
            needs=needs,
            operation=operation,
            resource=resource,
            size=size,
        )

    return make


def _of(what: Of, arguments: Mapping[str, Any]) -> Any:
    if what is None:
        return None
    return arguments[what] if isinstance(what, str) else what(arguments)


def _count(size: Any) -> Any:
    """Bytes of a value; what is no size stays what it is, for the refusal to name."""
    if size is None:
        return 0
    if isinstance(size, str):
        return len(size.encode("utf-8", "surrogatepass"))
    if isinstance(size, (bytes, bytearray)):
        return len(size)
    return size.nbytes if isinstance(size, memoryview) else size


def _metered(
    call: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], use: CapabilityUse
) -> Any:
    if not use.meters_cpu:
        return call(*args, **kwargs)
    began = time.thread_time()
    try:
        result = call(*args, **kwargs)
    finally:
        use.charge(cpu_s=time.thread_time() - began)
    return _MeteredAwaitable(result, use) if inspect.isawaitable(result) else result


class _MeteredAwaitable(Awaitable[Any]):
    """Counts the CPU of each step of a coroutine, and none of what runs while it waits."""

    def __init__(self, inner: Awaitable[Any], use: CapabilityUse) -> None:
        self._inner = inner
        self._use = use

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._inner.__await__()
        step: Callable[[], Any] = functools.partial(next, steps)
        while True:
            began = time.thread_time()
            try:
                waited_for = step()
            except StopIteration as end:
                return end.value
            finally:
                self._use.charge(cpu_s=time.thread_time() - began)
            try:
                sent = yield waited_for
            except GeneratorExit:
                _close(steps)
                raise
            except BaseException as thrown:
                step = functools.partial(_throw, steps, thrown)
            else:
                step = functools.partial(_send, steps, sent)


def _send(steps: Any, value: Any) -> Any:
    return next(steps) if value is None else steps.send(value)


def _throw(steps: Any, error: BaseException) -> Any:
    throw = getattr(steps, "throw", None)
    if throw is None:
        raise error
    return throw(error)


def _close(steps: Any) -> None:
    close = getattr(steps, "close", None)
    if close is not None:
        close()


__all__ = ["HostFunction", "Of", "host_function"]
