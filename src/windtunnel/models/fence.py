"""What is left for clients without a way in process: the loopback server, or a fence.

``http.client`` and urllib3 (requests) connections to a provider go to the server's loopback
address, where it has one, without TLS. Names of providers are resolved for nobody else.
"""

from __future__ import annotations

import socket
from typing import Any

from windtunnel.models.httpcore_way import Patched
from windtunnel.models.wiring import answering, guard


def _elsewhere(host: object, port: object) -> tuple[str, int] | None:
    """The loopback address that answers for a provider's; None for every other address."""
    if not isinstance(host, str) or not isinstance(port, int | None):
        return None
    opened = answering(host, port)
    if opened is None or opened.port is None or (host, port) == (opened.host, opened.port):
        return None
    return opened.host, opened.port


def http_client(module: Any) -> Patched:
    """Replacements for ``http.client``, by which urllib.request speaks."""
    plain, secure = module.HTTPConnection, module.HTTPSConnection
    connect, connect_tls = plain.connect, secure.__dict__["connect"]

    def connect_http(self: Any) -> None:
        there = _elsewhere(self.host, self.port)
        if there is None:
            connect(self)
        else:
            self.sock = socket.create_connection(there, self.timeout)

    def connect_https(self: Any) -> None:
        there = _elsewhere(self.host, self.port)
        if there is None:
            connect_tls(self)
        else:
            self.sock = socket.create_connection(there, self.timeout)

    return [(plain, "connect", connect_http), (secure, "connect", connect_https)]


def urllib3_connections(module: Any) -> Patched:
    """Replacements for urllib3's connections, by which requests speaks."""
    plain, secure = module.HTTPConnection, module.HTTPSConnection
    new, connect_tls = plain.__dict__["_new_conn"], secure.__dict__["connect"]

    def new_conn(self: Any) -> Any:
        there = _elsewhere(self.host, self.port)
        if there is None:
            return new(self)
        timeout = self.timeout if isinstance(self.timeout, int | float) else None
        return socket.create_connection(there, timeout)

    def connect_https(self: Any) -> None:
        if _elsewhere(self.host, self.port) is None:
            connect_tls(self)
            return
        self.sock = self._new_conn()
        self.is_verified = True

    return [(plain, "_new_conn", new_conn), (secure, "connect", connect_https)]


def resolver(module: Any) -> Patched:
    """Replacement for ``socket.getaddrinfo``, the fence for everything else."""
    resolve = module.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        guard(host)
        return resolve(host, *args, **kwargs)

    return [(module, "getaddrinfo", getaddrinfo)]


__all__ = ["http_client", "resolver", "urllib3_connections"]
