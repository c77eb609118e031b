"""What a secret looks like: for scrubbing recordings, and for finding one in a prompt."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

BLANK = "[redacted]"

PATTERNS: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern)
    for name, pattern in {
        "an OpenAI or Anthropic key": r"\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{16,}",
        "a Google key": r"\bAIza[0-9A-Za-z_-]{30,}",
        "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        "a GitHub token": r"\b(?:ghp|gho|ghs|ghu|github_pat)_[A-Za-z0-9_]{20,}",
        "a Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
        "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END[^\n]*|\Z)",
        "a JSON web token": r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+",
        "a bearer token": r"(?i)\bbearer\s+[A-Za-z0-9._~+/-]{16,}=*",
        "a password in a URL": r"\b[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s@]+@",
    }.items()
}

_NAMES = re.compile(r"(?i)(?:key|token|secret|passw(?:or)?d|credential)s?$")
_SHORT = 8
_OURS = "windtunnel"


def find(text: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """What of a text looks like a secret, or is the value of an environment variable that is one
    by its name; each named, and not shown.

    >>> find("my key is sk-abcdefghijklmnopqrstuvwx", {})
    ['an OpenAI or Anthropic key']
    >>> find("hunter2 hunter2", {"DB_PASSWORD": "hunter2 hunter2"})
    ['the value of DB_PASSWORD']
    """
    found = [name for name, pattern in PATTERNS.items() if pattern.search(text)]
    values = os.environ if environment is None else environment
    for name, value in values.items():
        if _NAMES.search(name) and len(value) >= _SHORT and value != _OURS and value in text:
            found.append(f"the value of {name}")
    return found


def scrub(text: str, extra: Iterable[str] = ()) -> str:
    """The text without what looks like a secret, and without the texts given besides.

    >>> scrub("Bearer abcdefghijklmnopqrst")
    '[redacted]'
    """
    for value in extra:
        if len(value) >= _SHORT:
            text = text.replace(value, BLANK)
    for pattern in PATTERNS.values():
        text = pattern.sub(BLANK, text)
    return text


__all__ = ["BLANK", "PATTERNS", "find", "scrub"]
