"""Tokens: what they hold, and what is said of one that cannot be used."""

from __future__ import annotations

import dataclasses

import pytest

from windtunnel.core import UsageError
from windtunnel.explore import Token

WHOLE = Token(
    nodeid="tests/test_a.py::test_b[é]",
    seed=2**63 - 1,
    world={"=": "WorldConfig", "policy": "pct"},
    code="c0de",
    interpreter="CPython 3.11.7 linux x86_64",
    packages="9ac4",
    hash_seed="0",
    choices=("6.100.0", "AAE="),
    steps=4711,
    error="AssertionError",
)


def test_a_token_says_again_what_it_was_made_of() -> None:
    assert Token.parse(WHOLE.text()) == WHOLE


def test_a_token_is_one_word_that_needs_no_quoting_in_a_shell() -> None:
    import shlex

    assert shlex.quote(WHOLE.text()) == WHOLE.text()


def test_a_changed_letter_is_noticed_wherever_it_is() -> None:
    text = WHOLE.text()
    for at in range(len("wt1_"), len(text) - 1):  # the last one has bits that mean nothing
        changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        with pytest.raises(UsageError, match="the token is damaged"):
            Token.parse(changed)


@pytest.mark.parametrize("cut", [5, 20, -1])
def test_a_token_that_is_cut_off_is_damaged(cut: int) -> None:
    with pytest.raises(UsageError, match="the token is damaged"):
        Token.parse(WHOLE.text()[:cut])


def test_a_token_of_another_version_is_said_to_be_that() -> None:
    with pytest.raises(UsageError, match="the token is of version 2") as raised:
        Token.parse(WHOLE.text().replace("wt1_", "wt2_"))
    assert "version 1" in raised.value.found


def test_what_is_no_token_is_said_to_be_none() -> None:
    with pytest.raises(UsageError, match="neither a token nor a file"):
        Token.parse("hello")


def test_what_differs_is_named_with_both_values() -> None:
    here = dataclasses.replace(WHOLE, code="beef", hash_seed="")
    assert WHOLE.differences(here) == [
        "code: c0de then, beef now",
        "PYTHONHASHSEED: 0 then, not known now",
    ]
    assert WHOLE.differences(WHOLE) == []
