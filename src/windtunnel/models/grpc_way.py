"""The way in for gRPC clients: channels to a provider that lead to the server's loopback address.

gRPC's own network is C, below which nothing can be put. So a channel to a provider's host is one of
ours: it has the methods of gRPC's, and what is called through it goes as REST
(:mod:`~windtunnel.models.grpc_rest`). A channel to another host of a provider is refused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from windtunnel.models.grpc_rest import CallFailed, Exchange
from windtunnel.models.httpcore_way import Patched
from windtunnel.models.wiring import answering, guard


def channels(grpc: Any) -> Patched:
    """Replacements for the functions that make channels."""
    return instead_of(grpc, lambda where: _sync(grpc)(where))


def instead_of(module: Any, ours: Callable[[tuple[str, int]], Any]) -> Patched:
    """Replacements for a module's functions that make channels.

    :param ours: makes a channel to an address.
    """
    secure, insecure = module.secure_channel, module.insecure_channel

    def instead(target: str) -> Any:
        host, port = _address(target)
        if answering(host, port) is None:
            guard(host)
            return None
        return ours((host, port))

    def secure_channel(target: str, credentials: Any, *args: Any, **kwargs: Any) -> Any:
        made = instead(target)
        return secure(target, credentials, *args, **kwargs) if made is None else made

    def insecure_channel(target: str, *args: Any, **kwargs: Any) -> Any:
        made = instead(target)
        return insecure(target, *args, **kwargs) if made is None else made

    return [
        (module, "secure_channel", secure_channel),
        (module, "insecure_channel", insecure_channel),
    ]


def _address(target: str) -> tuple[str, int]:
    """Host and port of ``host:port``, ``host`` or ``dns:///host:port``."""
    name = target.rpartition("/")[2]
    host, _, port = name.removeprefix("dns:").rpartition(":")
    return (host, int(port)) if host and port.isdigit() else (name, 443)


def begin(
    where: tuple[str, int], method: str, data: bytes, metadata: Any, timeout_s: float | None
) -> Exchange:
    """Have the server that answers for an address asked.

    :raises CallFailed: where it is not, or refuses.
    """
    opened = answering(*where)
    if opened is None:
        raise CallFailed("UNAVAILABLE", "the model server has been closed")
    if opened.port is None:
        raise CallFailed("UNAVAILABLE", "the model server has no port: start() it for gRPC clients")
    address = opened.host, opened.port
    return Exchange(address, method, data, metadata, timeout_s, opened.core.api_key)


def unchanged(value: Any) -> Any:
    """What a stub without a serializer does."""
    return value


@functools.cache
def errors(grpc: Any) -> Any:
    """The class of what is raised for a :class:`CallFailed`."""

    class Failed(grpc.RpcError):  # type: ignore[misc]
        """What gRPC raises, and what its own calls tell about themselves."""

        def __init__(self, failed: CallFailed) -> None:
            super().__init__(f"{failed.status}: {failed.details}")
            self._failed = failed

        def code(self) -> Any:
            return getattr(grpc.StatusCode, self._failed.status, grpc.StatusCode.UNKNOWN)

        def details(self) -> str:
            return self._failed.details

        def debug_error_string(self) -> str:
            return str(self)

        # Interceptors take it for the call that failed so.

        def result(self, timeout: float | None = None) -> Any:
            raise self

        def exception(self, timeout: float | None = None) -> Any:
            return self

        def traceback(self, timeout: float | None = None) -> Any:
            return self.__traceback__

        def done(self) -> bool:
            return True

        def cancelled(self) -> bool:
            return False

        def initial_metadata(self) -> tuple[()]:
            return ()

        def trailing_metadata(self) -> tuple[()]:
            return ()

    return Failed


def callables(unary: Any, stream: Any) -> Any:
    """What a channel to an address gives a stub: something to call for each of its methods.

    :param unary: the class of what is called for one answer.
    :param stream: the class of what is called for several.
    """

    class Callables:
        def __init__(self, where: tuple[str, int]) -> None:
            self._where = where

        def unary_unary(
            self,
            method: str,
            request_serializer: Any = None,
            response_deserializer: Any = None,
            *_: Any,
            **__: Any,
        ) -> Any:
            return unary(self._where, method, request_serializer, response_deserializer)

        def unary_stream(
            self,
            method: str,
            request_serializer: Any = None,
            response_deserializer: Any = None,
            *_: Any,
            **__: Any,
        ) -> Any:
            return stream(self._where, method, request_serializer, response_deserializer)

        # What takes a stream of requests has no form in REST; called, it is refused by name.

        def stream_unary(self, method: str, *_: Any, **__: Any) -> Any:
            return unary(self._where, method, lambda _: b"", None)

        def stream_stream(self, method: str, *_: Any, **__: Any) -> Any:
            return stream(self._where, method, lambda _: b"", None)

    return Callables


@functools.cache
def _sync(grpc: Any) -> Any:
    failed = errors(grpc)

    class Call(grpc.Call, grpc.Future):  # type: ignore[misc]
        """A call that has been answered, or whose answers are being read."""

        def __init__(self, value: Any, parts: Iterator[Any] | None = None) -> None:
            self._value, self._parts = value, parts or iter(())
            self._cancelled = False

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            if self._cancelled:
                raise failed(CallFailed("CANCELLED", "Locally cancelled by application!"))
            return next(self._parts)

        def result(self, timeout: float | None = None) -> Any:
            return self._value

        def code(self) -> Any:
            return grpc.StatusCode.OK

        def details(self) -> str:
            return ""

        def initial_metadata(self) -> tuple[()]:
            return ()

        def trailing_metadata(self) -> tuple[()]:
            return ()

        def cancel(self) -> bool:
            self._cancelled = True
            return True

        def cancelled(self) -> bool:
            return self._cancelled

        def is_active(self) -> bool:
            return False

        def running(self) -> bool:
            return False

        def done(self) -> bool:
            return True

        def time_remaining(self) -> None:
            return None

        def exception(self, timeout: float | None = None) -> None:
            return None

        def traceback(self, timeout: float | None = None) -> None:
            return None

        def add_callback(self, callback: Any) -> bool:
            return False

        def add_done_callback(self, fn: Any) -> None:
            fn(self)

    class Method:
        """What a stub calls."""

        def __init__(self, where: tuple[str, int], method: str, ser: Any, deser: Any) -> None:
            self._where, self._method = where, method
            self._ser, self._deser = ser or unchanged, deser or unchanged

        def begin(self, request: Any, timeout: float | None, metadata: Any) -> Exchange:
            try:
                data = self._ser(request)
                return begin(self._where, self._method, data, metadata, timeout)
            except CallFailed as error:
                raise failed(error) from None

    class Unary(Method, grpc.UnaryUnaryMultiCallable):  # type: ignore[misc]
        def __call__(
            self, request: Any, timeout: Any = None, metadata: Any = None, **_: Any
        ) -> Any:
            return self.with_call(request, timeout, metadata)[0]

        def with_call(
            self, request: Any, timeout: Any = None, metadata: Any = None, **_: Any
        ) -> Any:
            exchange = self.begin(request, timeout, metadata)
            try:
                value = self._deser(exchange.whole())
            except CallFailed as error:
                raise failed(error) from None
            return value, Call(value)

        def future(self, request: Any, timeout: Any = None, metadata: Any = None, **_: Any) -> Any:
            return self.with_call(request, timeout, metadata)[1]

    class Stream(Method, grpc.UnaryStreamMultiCallable):  # type: ignore[misc]
        def __call__(
            self, request: Any, timeout: Any = None, metadata: Any = None, **_: Any
        ) -> Any:
            exchange = self.begin(request, timeout, metadata)

            def parts() -> Iterator[Any]:
                try:
                    for data in exchange.parts():
                        yield self._deser(data)
                except CallFailed as error:
                    raise failed(error) from None

            return Call(None, parts())

    class Channel(callables(Unary, Stream), grpc.Channel):  # type: ignore[misc]
        def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
            callback(grpc.ChannelConnectivity.READY)

        def unsubscribe(self, callback: Any) -> None:
            """Nothing is told but that it is ready."""

        def close(self) -> None:
            """There is nothing to close."""

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

    return Channel


__all__ = ["begin", "callables", "channels", "errors", "instead_of", "unchanged"]
