"""The way in for asynchronous gRPC clients; see :mod:`~windtunnel.models.grpc_way`."""

from __future__ import annotations

import asyncio
import functools
import importlib
from collections.abc import AsyncIterator, Generator
from typing import Any

from windtunnel.models.grpc_rest import CallFailed, Exchange
from windtunnel.models.grpc_way import begin, callables, errors, instead_of, unchanged
from windtunnel.models.httpcore_way import Patched


def channels(aio: Any) -> Patched:
    """Replacements for the functions of ``grpc.aio`` that make channels."""
    grpc = importlib.import_module("grpc")
    return instead_of(aio, lambda where: _channel(grpc, aio)(where))


@functools.cache
def _channel(grpc: Any, aio: Any) -> Any:
    failed = errors(grpc)

    class Call:
        """A call under way: awaited, or iterated over."""

        def __init__(self, method: Any, request: Any, timeout: Any, metadata: Any) -> None:
            self._method, self._asked = method, (request, timeout, metadata)
            self._exchange: Exchange | None = None
            self._cancelled = False

        async def wait_for_connection(self) -> None:
            if self._exchange is None:
                request, timeout, metadata = self._asked
                method = self._method
                try:
                    self._exchange = await asyncio.to_thread(
                        begin, method.where, method.name, method.ser(request), metadata, timeout
                    )
                except CallFailed as error:
                    raise failed(error) from None

        async def _whole(self) -> Any:
            await self.wait_for_connection()
            assert self._exchange is not None
            try:
                return self._method.deser(await asyncio.to_thread(self._exchange.whole))
            except CallFailed as error:
                raise failed(error) from None

        def __await__(self) -> Generator[Any, None, Any]:
            return self._whole().__await__()

        async def __aiter__(self) -> AsyncIterator[Any]:
            await self.wait_for_connection()
            assert self._exchange is not None
            parts = self._exchange.parts()
            try:
                while (data := await asyncio.to_thread(next, parts, None)) is not None:
                    yield self._method.deser(data)
            except CallFailed as error:
                raise failed(error) from None

        async def code(self) -> Any:
            return grpc.StatusCode.OK

        async def details(self) -> str:
            return ""

        async def initial_metadata(self) -> tuple[()]:
            return ()

        async def trailing_metadata(self) -> tuple[()]:
            return ()

        def cancel(self) -> bool:
            self._cancelled = True
            if self._exchange is not None:
                self._exchange.close()
            return True

        def cancelled(self) -> bool:
            return self._cancelled

        def done(self) -> bool:
            return False

        def time_remaining(self) -> None:
            return None

        def add_done_callback(self, callback: Any) -> None:
            """It is not told when it is done."""

    class Method:
        """What a stub calls."""

        def __init__(self, where: tuple[str, int], name: str, ser: Any, deser: Any) -> None:
            self.where, self.name = where, name
            self.ser, self.deser = ser or unchanged, deser or unchanged

        def __call__(
            self, request: Any, *, timeout: Any = None, metadata: Any = None, **_: Any
        ) -> Any:
            return Call(self, request, timeout, metadata)

    class Unary(Method, aio.UnaryUnaryMultiCallable):  # type: ignore[misc]
        pass

    class Stream(Method, aio.UnaryStreamMultiCallable):  # type: ignore[misc]
        pass

    class Channel(callables(Unary, Stream), aio.Channel):  # type: ignore[misc]
        def __init__(self, where: tuple[str, int]) -> None:
            super().__init__(where)
            # Google's clients add theirs, which log; they are not asked.
            self._unary_unary_interceptors: list[Any] = []
            self._unary_stream_interceptors: list[Any] = []

        async def close(self, grace: float | None = None) -> None:
            """There is nothing to close."""

        def get_state(self, try_to_connect: bool = False) -> Any:
            return grpc.ChannelConnectivity.READY

        async def wait_for_state_change(self, last_observed_state: Any) -> None:
            """It does not change."""
            await asyncio.Event().wait()

        async def channel_ready(self) -> None:
            """It always is."""

        async def __aenter__(self) -> Any:
            return self

        async def __aexit__(self, *_: object) -> None:
            await self.close()

    return Channel


__all__ = ["channels"]
