"""Where in the user's code a call came from: the first frame outside the house and asyncio."""

from __future__ import annotations

import os
import sys
from types import FrameType

_OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_PACKAGES = os.sep + "site-packages" + os.sep


def _is_stdlib(file: str) -> bool:
    return (file.startswith(_STDLIB) and _PACKAGES not in file) or file.startswith("<frozen ")


def caller() -> str:
    """``file:line in function`` of the code that made the call which is being replaced.

    Frames of windtunnel are left out, and those of the standard library when something else
    called it, so that ``subprocess.run`` is found in the line that wrote it.
    """
    nearest: FrameType | None = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_OURS):
            nearest = nearest or frame
            if not _is_stdlib(file):
                return _said(frame)
        frame = frame.f_back
    return _said(nearest) if nearest is not None else "an unknown place"


def _said(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"
