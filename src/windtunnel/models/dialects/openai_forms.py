"""Bodies of ``multipart/form-data`` (RFC 7578), as uploads of files and media have them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from windtunnel.models.dialects.openai_fields import body_of, integer, refuse
from windtunnel.models.protocol import HttpRequest

_BOUNDARY = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)
_NAME = re.compile(r'\bname="((?:[^"\\]|\\.)*)"')
_FILENAME = re.compile(r'\bfilename="((?:[^"\\]|\\.)*)"')
_WORDS = {"true": True, "false": False}


class Upload(NamedTuple):
    """A file in a form."""

    filename: str
    content: bytes


Form = Mapping[str, Any]
"""Fields of a form: texts and :class:`Upload` objects, lists of them where a name ends in ``[]``,
and mappings where names have keys in brackets (``expires_after[seconds]``)."""


def form_of(request: HttpRequest) -> Form:
    """The form in a request; a JSON body is taken for one.

    :raises RefusedError: where there is none.
    """
    kind = request.header("content-type")
    if not kind.lower().startswith("multipart/form-data"):
        return body_of(request)
    found = _BOUNDARY.search(kind)
    if found is None:
        refuse("Could not parse multipart form: there is no boundary in the content type.")
    fields: dict[str, Any] = {}
    pieces = (b"\r\n" + request.body).split(b"\r\n--" + found[1].encode("latin-1"))
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        refuse("Could not parse multipart form: it does not end in its boundary.")
    for piece in pieces[1:-1]:
        head, blank, content = piece.partition(b"\r\n\r\n")
        if not blank:
            refuse("Could not parse multipart form: a part has no blank line.")
        _put(fields, head.decode("utf-8", "replace"), content)
    return fields


def _put(fields: dict[str, Any], head: str, content: bytes) -> None:
    name = _NAME.search(head)
    if name is None:
        refuse("Could not parse multipart form: a part has no name.")
    filename = _FILENAME.search(head)
    value: Any = (
        content.decode("utf-8", "replace") if filename is None else Upload(filename[1], content)
    )
    key, bracket, rest = name[1].partition("[")
    inner = rest.rstrip("]")
    if not bracket:
        fields[key] = value
    elif not inner:
        fields.setdefault(key, []).append(value)
    else:
        fields.setdefault(key, {})[inner] = value


def text_in(form: Form, name: str) -> str | None:
    """The text of a field, None where it is not given."""
    value = form.get(name)
    return value if isinstance(value, str) else None


def flag_in(form: Form, name: str) -> bool:
    """Whether a field says true, in a form's text or in JSON."""
    value = form.get(name)
    return _WORDS.get(value, False) if isinstance(value, str) else value is True


def number_in(form: Form, name: str) -> int | None:
    """The whole number in a field."""
    value = form.get(name)
    if isinstance(value, str):
        if not value.lstrip("-").isdecimal():
            refuse(f"Invalid type for '{name}': expected an integer.", name, "invalid_type")
        return int(value)
    if value is not None:
        integer()(value, name)
    found: int | None = value
    return found
