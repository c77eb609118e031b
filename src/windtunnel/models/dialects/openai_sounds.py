"""Small sounds, each a valid file of its format: a tenth of a second of silence or less."""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache

FORMATS = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "pcm16": "audio/pcm",
}
"""Content types by the format's name in requests."""

_RATE = 24_000
_SAMPLES = _RATE // 10


@lru_cache(maxsize=16)
def sound(form: str) -> bytes:
    """Silence in that format; an unknown one gets ``wav``."""
    makers = {
        "mp3": _mp3,
        "opus": _opus,
        "aac": _aac,
        "flac": _flac,
        "pcm": _pcm,
        "pcm16": _pcm,
    }
    return makers.get(form, _wav)()


def _pcm() -> bytes:
    return bytes(2 * _SAMPLES)


def _wav() -> bytes:
    """RIFF, one channel of 16-bit samples."""
    data = _pcm()
    form = struct.pack("<HHIIHH", 1, 1, _RATE, 2 * _RATE, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _mp3() -> bytes:
    """Four frames of MPEG-1 layer III, 128 kbit/s, 44.1 kHz, mono. Side information of zeros says
    that no granule has any data: silence. A frame is 144 * 128000 / 44100 = 417 bytes long."""
    return (b"\xff\xfb\x90\xc4" + bytes(413)) * 4


def _aac() -> bytes:
    """Four ADTS frames of AAC-LC, 24 kHz, mono, each one silent raw block."""
    block = bytes((0x00, 0xC8, 0x00, 0x80, 0x23, 0x80))
    length = 7 + len(block)
    head = bytes(
        (
            0xFF,
            0xF1,  # MPEG-4, no checksum
            0x40 | 6 << 2,  # AAC-LC at 24 kHz
            0x40 | length >> 11,  # one channel
            length >> 3 & 0xFF,
            (length & 7) << 5 | 0x1F,
            0xFC,
        )
    )
    return (head + block) * 4


def _flac() -> bytes:
    """One channel of 16-bit samples (RFC 9639): STREAMINFO, and one frame of zeros."""
    frame = b"\xff\xf8"  # sync, blocks of one size
    frame += bytes((7 << 4 | 7, 0x08, 0x00))  # size below, 24 kHz, one channel of 16 bits, frame 0
    frame += struct.pack(">H", _SAMPLES - 1)
    frame += bytes((_remainder(frame, 8, 0x07),))
    frame += b"\x00\x00\x00"  # a constant subframe: this sample, all along
    frame += struct.pack(">H", _remainder(frame, 16, 0x8005))
    info = struct.pack(">HH", _SAMPLES, _SAMPLES) + len(frame).to_bytes(3, "big") * 2
    info += struct.pack(">Q", _RATE << 44 | 15 << 36 | _SAMPLES)  # 20, 3, 5 and 36 bits
    info += hashlib.md5(_pcm(), usedforsecurity=False).digest()
    return b"fLaC\x80\x00\x00\x22" + info + frame


def _opus() -> bytes:
    """Opus in Ogg (RFC 7845): identification, comments, and one packet of silence."""
    head = b"OpusHead" + struct.pack("<BBHIHB", 1, 1, 312, _RATE, 0, 0)
    tags = b"OpusTags" + struct.pack("<I", 10) + b"windtunnel" + struct.pack("<I", 0)
    packet = b"\xf8\xff\xfe"
    return _page(head, 2, 0, 0) + _page(tags, 0, 0, 1) + _page(packet, 4, 960, 2)


def _page(packet: bytes, flags: int, position: int, number: int) -> bytes:
    """One Ogg page (RFC 3533) with one packet of fewer than 255 bytes."""
    head = b"OggS" + struct.pack("<BBqII", 0, flags, position, 1, number)
    rest = bytes((1, len(packet))) + packet
    checksum = _remainder(head + bytes(4) + rest, 32, 0x04C11DB7)
    return head + struct.pack("<I", checksum) + rest


def _remainder(data: bytes, bits: int, polynomial: int) -> int:
    """A cyclic redundancy check of so many bits, neither reflected nor inverted."""
    crc, top = 0, 1 << bits - 1
    for byte in data:
        crc ^= byte << bits - 8
        for _ in range(8):
            crc = (crc << 1 ^ polynomial if crc & top else crc << 1) & 2 * top - 1
    return crc
