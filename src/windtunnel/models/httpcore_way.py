"""The way in below httpx and httpcore (and httpx2, httpcore2): their network, without a network.

Connections are made by httpcore's network backends; those to an address that is answered in
process become a :class:`~windtunnel.models.memory.Wire`. Everything above it is the library's own
code, so a reset, a stall or half a response raise what the library raises for them. An answer that
is whole and waits for nothing needs none of that: it is handed to httpx as a response.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from windtunnel.core.clock import WORLD_CLOCK
from windtunnel.models.memory import HANDED, Ended, Wire
from windtunnel.models.protocol import Awaited, HttpRequest, Plan
from windtunnel.models.wiring import Opened, answering, guard

Patched = list[tuple[Any, str, Any]]
"""What is to be replaced: an object, the name of its attribute, and the new value."""

_FOREVER = 86_400.0


def backends(core: Any) -> Patched:
    """Replacements for httpcore's (or httpcore2's) network backends."""
    sync, asynchronous = _streams(core)
    patched: Patched = []
    sync_backend = core.SyncBackend
    connect = sync_backend.connect_tcp

    def connect_tcp(self: Any, host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        opened = answering(host, port)
        if opened is not None:
            if opened.core.refusing:
                raise core.ConnectError("[Errno 111] Connection refused")
            return sync(Wire(host, port))
        guard(host)
        return connect(self, host, port, *args, **kwargs)

    patched.append((sync_backend, "connect_tcp", connect_tcp))
    names = ["AnyIOBackend", "TrioBackend"]
    classes = [getattr(core, name) for name in names if hasattr(core, name)]
    auto = __import__(f"{core.__name__}._backends.auto", fromlist=["AutoBackend"])
    for backend in [*classes, auto.AutoBackend]:
        if "connect_tcp" in vars(backend):  # a stand-in where trio is not installed
            patched.append((backend, "connect_tcp", _async_connect(core, backend, asynchronous)))
    return patched


def _async_connect(core: Any, backend: Any, stream: Any) -> Any:
    connect = backend.__dict__["connect_tcp"]

    async def connect_tcp(self: Any, host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        opened = answering(host, port)
        if opened is not None:
            if opened.core.refusing:
                raise core.ConnectError("[Errno 111] Connection refused")
            return stream(Wire(host, port))
        guard(host)
        return await connect(self, host, port, *args, **kwargs)

    return connect_tcp


def _streams(core: Any) -> tuple[Any, Any]:
    """Stream classes for one of the two libraries, with its own base classes and errors."""

    def wait_of(delay: float, timeout: float | None) -> tuple[float, bool]:
        late = timeout is not None and delay > timeout
        return (timeout if late and timeout is not None else delay), late

    def ended(how: str, timeout: float | None) -> float:
        """Seconds to wait before the read times out; raises for what ends at once."""
        if how == "reset":
            raise core.ReadError("[Errno 104] Connection reset by peer")
        return _FOREVER if timeout is None else timeout

    class Base:
        def __init__(self, wire: Wire) -> None:
            self._wire = wire
            self._left = b""

        def get_extra_info(self, info: str) -> Any:
            if info == "is_readable":
                return self._wire.stale
            return ("127.0.0.1", 0) if info in ("client_addr", "server_addr") else None

        def _cut(self, max_bytes: int) -> bytes:
            data, self._left = self._left[:max_bytes], self._left[max_bytes:]
            return data

    class MemoryStream(Base, core.NetworkStream):  # type: ignore[misc]
        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            while not self._left:
                try:
                    step = self._wire.next()
                except Ended as end:
                    if end.how == "close":
                        return b""
                    WORLD_CLOCK.sleep(ended(end.how, timeout))
                    raise core.ReadTimeout("timed out") from None
                if not isinstance(step, tuple):
                    self._wire.take(run_now(step))
                    continue
                if step.awaits is not None and not step.awaits.wait(timeout):
                    raise core.ReadTimeout("timed out")
                if step.delay_s > 0:
                    seconds, late = wait_of(step.delay_s, timeout)
                    WORLD_CLOCK.sleep(seconds)
                    if late:
                        raise core.ReadTimeout("timed out")
                self._left = step.data
            return self._cut(max_bytes)

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self._wire.write(buffer)

        def close(self) -> None:
            self._wire.close()

        def start_tls(self, *args: Any, **kwargs: Any) -> Any:
            return self

    class AsyncMemoryStream(Base, core.AsyncNetworkStream):  # type: ignore[misc]
        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            while not self._left:
                try:
                    step = self._wire.next()
                except Ended as end:
                    if end.how == "close":
                        return b""
                    await _pause(ended(end.how, timeout))
                    raise core.ReadTimeout("timed out") from None
                if not isinstance(step, tuple):
                    self._wire.take(await step)
                    continue
                if step.awaits is not None and not await _waited(step.awaits, timeout):
                    raise core.ReadTimeout("timed out")
                if step.delay_s > 0:
                    seconds, late = wait_of(step.delay_s, timeout)
                    await _pause(seconds)
                    if late:
                        raise core.ReadTimeout("timed out")
                self._left = step.data
            return self._cut(max_bytes)

        async def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self._wire.write(buffer)

        async def aclose(self) -> None:
            self._wire.close()

        async def start_tls(self, *args: Any, **kwargs: Any) -> Any:
            return self

    return MemoryStream, AsyncMemoryStream


async def _pause(seconds: float) -> None:
    import anyio

    await anyio.sleep(seconds)


async def _waited(awaited: Awaited, timeout: float | None) -> bool:
    """In a thread, since the library may run on any kind of event loop."""
    import anyio

    return await anyio.to_thread.run_sync(awaited.wait, timeout, abandon_on_cancel=True)


def run_now(later: Any) -> Plan:
    """A plan that must be awaited, for a synchronous client: awaited in a loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_await(later))
    # This thread's loop is at work; another thread gets one.
    made: list[Plan] = []
    thread = threading.Thread(target=lambda: made.append(asyncio.run(_await(later))))
    thread.start()
    thread.join()
    return made[0]


async def _await(later: Any) -> Plan:
    plan: Plan = await later
    return plan


# -- whole answers, handed to httpx ----------------------------------------------------------------


def transports(httpx: Any) -> Patched:
    """Replacements for the transports of httpx (or httpx2)."""
    sync, asynchronous = httpx.HTTPTransport, httpx.AsyncHTTPTransport
    handle, handle_async = sync.handle_request, asynchronous.handle_async_request

    def handle_request(self: Any, request: Any) -> Any:
        url = request.url
        opened = answering(url.host, url.port or (443 if url.scheme == "https" else 80))
        if opened is None:
            guard(url.host)
            return handle(self, request)
        if opened.core.refusing:
            return handle(self, request)
        content = request.__dict__.get("_content")
        if content is None:
            content = request.read()
        plan = opened.core.handle(_request_of(request, url, content))
        if not isinstance(plan, Plan):
            plan = run_now(plan)
        whole = _whole(plan)
        if whole is not None:
            return _response(httpx, whole)
        token = HANDED.set(plan)
        try:
            return handle(self, request)
        finally:
            HANDED.reset(token)

    async def handle_async_request(self: Any, request: Any) -> Any:
        url = request.url
        opened = answering(url.host, url.port or (443 if url.scheme == "https" else 80))
        if opened is None:
            guard(url.host)
            return await handle_async(self, request)
        if opened.core.refusing:
            return await handle_async(self, request)
        content = request.__dict__.get("_content")
        if content is None:
            content = await request.aread()
        plan = opened.core.handle(_request_of(request, url, content))
        if not isinstance(plan, Plan):
            plan = await plan
        whole = _whole(plan)
        if whole is not None:
            return _response(httpx, whole)
        token = HANDED.set(plan)
        try:
            return await handle_async(self, request)
        finally:
            HANDED.reset(token)

    return [
        (sync, "handle_request", handle_request),
        (asynchronous, "handle_async_request", handle_async_request),
    ]


_known_headers: dict[tuple[tuple[bytes, bytes], ...], tuple[tuple[str, str], ...]] = {}
_known_paths: dict[str, str] = {}


def _request_of(request: Any, url: Any, content: bytes) -> HttpRequest:
    raw = tuple(request.headers.raw)
    headers = _known_headers.get(raw)
    if headers is None:
        headers = tuple((k.decode("latin-1").lower(), v.decode("latin-1")) for k, v in raw)
        if len(_known_headers) >= 512:
            _known_headers.clear()
        _known_headers[raw] = headers
    path, _, query = url.raw_path.decode("ascii").partition("?")
    if len(_known_paths) >= 512:
        _known_paths.clear()
    path = _known_paths.setdefault(path, path)
    return HttpRequest(request.method, path, query, headers, content)


def _whole(plan: Plan) -> bytes | None:
    """The bytes of a plan that is one step, at once, after which the connection stays."""
    steps = plan.steps
    if plan.response is None or type(steps) is not tuple or plan.ending != "keep":
        return None
    step = steps[0]
    if len(steps) != 1 or step.delay_s:
        return None
    plan.recorded.state = "sent"
    data: bytes = step.data
    return data


def _response(httpx: Any, data: bytes) -> Any:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return httpx.Response(
        int(first[9:12]),
        headers=[(name, value) for name, _, value in (line.partition(b": ") for line in lines)],
        stream=httpx.ByteStream(body),
        extensions={"http_version": b"HTTP/1.1", "reason_phrase": first[13:]},
    )


__all__ = ["Opened", "Patched", "backends", "run_now", "transports"]
