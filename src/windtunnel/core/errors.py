"""Every error of the house, and the exit codes they end a command with.

An error says three things: what happened, what was found, what to do. Its class names the
cause, so a caller can tell causes apart without reading prose. The command line turns a
``WindtunnelError`` into its message on stderr and its ``exit_code``; a traceback is a defect.
"""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What a windtunnel command or a windtunnel run ends with.

    0 to 5 are pytest's own (``pytest.ExitCode``) and mean what they mean there; those from 10
    on are ours and are kept stable.
    """

    OK = 0
    TESTS_FAILED = 1
    INTERRUPTED = 2
    INTERNAL_ERROR = 3
    USAGE_ERROR = 4
    NO_TESTS = 5
    RECORD_UNUSABLE = 10
    ISOLATION_UNAVAILABLE = 11
    RESOURCE_UNAVAILABLE = 12
    QUARANTINE_EXPIRED = 13
    VACUOUS = 14
    LEAKED = 15
    GATE_FAILED = 16
    NOT_REPRODUCED = 17


class WindtunnelError(Exception):
    """Base of all errors raised on purpose.

    :param what: what happened, one sentence without a full stop.
    :param found: what was found instead of what was expected; may be empty.
    :param fix: what the user can do about it; may be empty.

    >>> print(UsageError("cannot read --isolation", found="'nmespace'", fix="use namespace"))
    cannot read --isolation
      found: 'nmespace'
      to fix: use namespace
    """

    exit_code: ExitCode = ExitCode.INTERNAL_ERROR

    def __init__(self, what: str, *, found: str = "", fix: str = "") -> None:
        self.what = what
        self.found = found
        self.fix = fix
        lines = [what]
        if found:
            lines.append(f"  found: {found}")
        if fix:
            lines.append(f"  to fix: {fix}")
        super().__init__("\n".join(lines))


class UsageError(WindtunnelError):
    """An option, marker, file or field holds something that cannot be meant."""

    exit_code = ExitCode.USAGE_ERROR


class RecordError(WindtunnelError):
    """The record cannot be read or written: corrupted, of a newer format, or without space."""

    exit_code = ExitCode.RECORD_UNUSABLE


class IsolationError(WindtunnelError):
    """An isolation that was asked for cannot be had on this machine."""

    exit_code = ExitCode.ISOLATION_UNAVAILABLE


class ResourceError(WindtunnelError):
    """A lease, server, binary or port that was asked for cannot be had."""

    exit_code = ExitCode.RESOURCE_UNAVAILABLE


class MissingExtraError(ResourceError):
    """An optional dependency is needed and not installed.

    >>> print(MissingExtraError("time", needed_for="changing the date of a test"))
    changing the date of a test needs an optional dependency
      to fix: pip install 'windtunnel[time]'
    """

    def __init__(self, extra: str, *, needed_for: str) -> None:
        self.extra = extra
        super().__init__(
            f"{needed_for} needs an optional dependency",
            fix=f"pip install 'windtunnel[{extra}]'",
        )
