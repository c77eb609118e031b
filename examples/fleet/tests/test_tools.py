"""Tools, their registry, and the pair of tests that `windtunnel flaky hunt` explains.

`test_a_project_registers_a_tool_of_its_own` leaves its tool in the registry. Whatever counts
the registry's tools after it, in the same process, fails: it is the polluter, and
`test_the_catalogue_lists_the_four_built_in_tools` is its victim. In the order of this file, and
under `--isolation fork`, both pass.
"""

from __future__ import annotations

import pytest

from fleet import REGISTRY, tool
from fleet.tools import catalogue


@pytest.mark.parametrize(
    ("name", "text", "result"),
    [
        ("count_words", "one two  three", "3"),
        ("upper", "moon", "MOON"),
        ("reverse_words", "to the moon", "moon the to"),
        ("add", "7 apples, -2 pears and 10", "15"),
    ],
)
def test_a_tool_turns_text_into_text(name: str, text: str, result: str):
    assert REGISTRY[name].run(text) == result


def test_the_catalogue_lists_the_four_built_in_tools():
    assert len(catalogue().splitlines()) == 4


def test_a_project_registers_a_tool_of_its_own():
    @tool("the text, louder")
    def shout(text: str) -> str:
        return f"{text}!"

    assert "shout: the text, louder" in catalogue()
