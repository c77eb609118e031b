"""Small pictures, each a valid file of its format: white, and of the size asked for; a GIF, which
no request can ask for, is one pixel."""

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
        return _jpeg(width, height)
    if form == "webp":
        return _webp(width, height)
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
    width, height = _sides(width, height)
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


def _sides(width: int, height: int) -> tuple[int, int]:
    return max(min(width, 4096), 1), max(min(height, 4096), 1)


def _webp(width: int, height: int) -> bytes:
    """Lossless WebP (RFC 9649): every colour's code has one symbol, so that pixels need no bits."""
    width, height = _sides(width, height)
    size = (width - 1 | height - 1 << 14).to_bytes(4, "little")
    image = b"VP8L" + struct.pack("<I", 17) + b"\x2f" + size + bytes.fromhex(_WHITE) + b"\0"
    return b"RIFF" + struct.pack("<I", 4 + len(image)) + b"WEBP" + image


_WHITE = "07d0fffef7bfff8188e87f00"  # no transforms, no cache; codes of 255, 255, 255, 255 and 0


def _jpeg(width: int, height: int) -> bytes:
    """Baseline JPEG (ITU T.81), grey: the first block says white, each other that it is as the one
    before, in two bits."""
    width, height = _sides(width, height)
    blocks = -(-width // 8) * -(-height // 8)
    # A difference of 127 is code 10 and seven bits; of 0, code 0. No more coefficients: code 0.
    bits = "1011111110" + "00" * (blocks - 1)
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"),
            _segment(0xDB, b"\0" + b"\x08" * 64),
            _segment(0xC0, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"),
            _segment(0xC4, b"\x00\1\1" + bytes(14) + b"\0\7"),
            _segment(0xC4, b"\x10\1" + bytes(15) + b"\0"),
            _segment(0xDA, b"\1\1\0\0\x3f\0"),
            data,
            b"\xff\xd9",
        )
    )


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data
