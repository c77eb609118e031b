"""Browsers: what they ask before they let a page call another origin, and what they are told.

The providers allow it to pages that ask (their clients' ``dangerouslyAllowBrowser``), and so is it
here, from any origin: nothing behind this server is worth protecting.

Source: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

from windtunnel.models.protocol import HttpRequest, Response

ALLOWED = b"access-control-allow-origin: *\r\naccess-control-expose-headers: *\r\n"
"""Header lines of every answer to a page of another origin."""


def preflight(request: HttpRequest) -> Response | None:
    """The answer to a browser that asks whether it may; None where that is not what is asked."""
    wanted = request.header("access-control-request-method")
    if not wanted or not request.header("origin"):
        return None
    headers = [
        ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        # Named, since `*` does not cover `authorization`.
        ("access-control-allow-headers", request.header("access-control-request-headers", "*")),
        ("access-control-max-age", "86400"),
    ]
    if request.header("access-control-request-private-network"):
        headers.append(("access-control-allow-private-network", "true"))
    return Response(204, b"", headers=tuple(headers))


__all__ = ["ALLOWED", "preflight"]
