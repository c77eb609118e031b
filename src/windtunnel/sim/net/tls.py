"""TLS over a simulated stream: asyncio's own protocol, with the plaintext counted.

The keys of a TLS connection are drawn by native code, so its ciphertext, and at times its length
(signatures, session tickets), differ from run to run. What such a connection weighs on the link,
in buffers and in the trace is therefore the plaintext that was written; a handshake weighs
nothing.
"""

from __future__ import annotations

import ssl
from asyncio import sslproto


class _Counting(ssl.SSLObject):
    """An SSLObject that counts the plaintext written through it."""

    plain = 0

    def write(self, data: object) -> int:
        written = super().write(data)  # type: ignore[arg-type]
        self.plain += written
        return written


_counting: dict[type, type] = {ssl.SSLObject: _Counting}


class PlainCount:
    """How much plaintext a protocol has encrypted.

    :param protocol: asyncio's TLS protocol over the transport that asks.
    """

    def __init__(self, protocol: sslproto.SSLProtocol) -> None:
        self._protocol = protocol
        self._reported = 0

    def since_last(self) -> int:
        """Bytes of plaintext in what was encrypted since the last call."""
        made = self._protocol._sslobj  # type: ignore[attr-defined]
        kind = type(made)
        if not issubclass(kind, _Counting):
            if kind not in _counting:
                _counting[kind] = type(kind.__name__, (_Counting, kind), {})
            made.__class__ = _counting[kind]
        plain = int(made.plain)
        new = plain - self._reported
        self._reported = plain
        return new
