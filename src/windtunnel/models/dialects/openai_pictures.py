"""Small pictures, each a valid file of its format: white, and of the size asked for where that
costs next to nothing (PNG, GIF's and SVG's headers), else one pixel."""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode
from functools import lru_cache

FORMATS = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "svg": "image/svg+xml",
}
"""Content types by the format's name in requests."""


@lru_cache(maxsize=32)
def picture(form: str, width: int, height: int) -> bytes:
    """A white picture in that format; an unknown one gets ``png``."""
    if form == "jpeg":
        return _JPEG
    if form == "webp":
        return _WEBP
    if form == "gif":
        return _GIF
    if form == "svg":
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
            '<rect width="100%" height="100%" fill="white"/></svg>'
        ).encode()
    return _png(width, height)


def _png(width: int, height: int) -> bytes:
    """One bit a pixel, all white: a thousand pixels square are 150 bytes."""
    width, height = max(min(width, 4096), 1), max(min(height, 4096), 1)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    row = b"\0" + b"\xff" * ((width + 7) // 8)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + _chunk(b"IDAT", zlib.compress(row * height, 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


_GIF = b64decode("R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs=")
_WEBP = b64decode("UklGRh4AAABXRUJQVlA4TBEAAAAvAAAAAAfQ//73v/+BiOh/AAA=")
_JPEG = b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRT"
    "c4UG1RV19iZ2hnPk1xeXBkeFxlZ2P/wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAB//EABQQAQAAAAAA"
    "AAAAAAAAAAAAAAD/2gAIAQEAAD8AQH//2Q=="
)
