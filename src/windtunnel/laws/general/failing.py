"""Failure implies an error that says so; and a configuration that is wrong is refused at once."""

from __future__ import annotations

from typing import Any

from windtunnel.laws.book import general_law
from windtunnel.laws.case import Completion, broken
from windtunnel.laws.examples import Draw
from windtunnel.laws.values import shown

_FAILED = "a call that failed"
_SUCCEEDED = "a call that succeeded"
_REFUSED = "a configuration that was refused"


@general_law(needs=("call", "inputs"), branches=(_FAILED, _SUCCEEDED))
async def failure_says_so(subject: Any, draw: Draw) -> None:
    """a call that fails has an error that says so, and what must fail does"""
    contract = draw.case.contract
    given = draw.input()
    ended = await draw.case.call(subject, given)
    draw.saw(_FAILED if ended.failed else _SUCCEEDED)
    says_so(ended, contract.errors, f"the call of {shown(given)}")
    if contract.invalid_inputs is None:
        return
    given = draw(contract.invalid_inputs, "invalid input")
    ended = await draw.case.call(subject, given)
    if not ended.failed:
        broken(f"an invalid input did not fail: {shown(given)}", found=shown(ended))
    draw.saw(_FAILED)
    says_so(ended, contract.errors, f"the call of {shown(given)}")


@general_law(needs=("invalid_configs",), branches=(_REFUSED,))
async def invalid_config_is_refused(subject: Any, draw: Draw) -> None:
    """a subject cannot be made with an invalid configuration, and the error says so"""
    config = draw.declared("invalid_configs", "invalid config")
    ended = await draw.case.completed(lambda: draw.case.make(config))
    if not ended.raised:
        broken(f"an invalid configuration was taken: {shown(config)}", found=shown(ended))
    draw.saw(_REFUSED)
    says_so(ended, (Exception,), f"the refusal of {shown(config)}")


def says_so(ended: Completion, errors: tuple[type[BaseException], ...], what: str) -> None:
    """That a completion that failed has an error of the right type, with words in it."""
    if not ended.failed:
        return
    if ended.raised and not isinstance(ended.error, errors):
        names = " or ".join(one.__name__ for one in errors)
        broken(f"{what} failed with another error", expected=names, found=repr(ended))
    if not ended.message.strip():
        kind = type(ended.error).__name__
        broken(f"{what} failed without a word", expected="a message", found=f"an empty {kind}")
