"""Validation of the messages of an Anthropic request: roles, blocks, and tool ids that pair.

Source: https://docs.claude.com/en/api/messages, and the messages of the API that are quoted in the
issues of anthropics/claude-code.
"""

from __future__ import annotations

import re
from typing import Any

from windtunnel.models.dialects.anthropic_checks import (
    items,
    need,
    refuse,
    refused,
    tag_of,
    text,
    thing,
)
from windtunnel.models.protocol import JsonObject, RefusedError

_BLOCKS_WORDS = """
    advisor_tool_result bash_code_execution_tool_result code_execution_tool_result compaction
    container_upload document fallback image mcp_tool_listing mcp_tool_result mcp_tool_use
    redacted_thinking search_result server_tool_use text text_editor_code_execution_tool_result
    thinking tool_addition tool_reference tool_removal tool_result tool_search_tool_result
    tool_use web_fetch_tool_result web_search_tool_result
"""
BLOCKS = frozenset(_BLOCKS_WORDS.split())
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")


def check_messages(messages: list[Any]) -> None:
    """Roles, content blocks, and the pairing of tool uses with their results."""
    if not messages:
        raise refused("messages: at least one message is required")
    for index, message in enumerate(messages):
        _check_message(message, f"messages.{index}", index == len(messages) - 1)
    _check_pairs(messages)


def _check_message(message: Any, path: str, last: bool) -> None:
    role = need(thing(message, path), "role", f"{path}.")
    if role not in ("user", "assistant", "system"):
        raise refused(
            f'messages: Unexpected role "{role}". Allowed roles are "user" or "assistant"'
        )
    content = message.get("content")
    if content is None:
        refuse(f"{path}.content", "Field required")
    if isinstance(content, str):
        if not content and not (last and role == "assistant"):
            raise refused("messages: text content blocks must be non-empty")
        blocks: list[Any] = []
    else:
        blocks = items(content, f"{path}.content")
        if not blocks and not (last and role == "assistant"):
            raise refused(
                f"{path}: all messages must have non-empty content except for the optional final"
                " assistant message"
            )
    for number, block in enumerate(blocks):
        _check_block(block, f"{path}.content.{number}", role)
    final = content if isinstance(content, str) else _final_text(blocks)
    if last and role == "assistant" and final != final.rstrip():
        raise refused("messages: final assistant content cannot end with trailing whitespace")


def _final_text(blocks: list[Any]) -> str:
    return blocks[-1]["text"] if blocks and blocks[-1].get("type") == "text" else ""


def _check_block(block: Any, path: str, role: str) -> None:
    kind = tag_of(thing(block, path), path, BLOCKS)
    inner = f"{path}.{kind}"
    if kind == "text":
        if not text(need(block, "text", f"{inner}."), f"{inner}.text"):
            raise refused("messages: text content blocks must be non-empty")
    elif kind == "tool_use":
        _check_id(need(block, "id", f"{inner}."), f"{inner}.id")
        text(need(block, "name", f"{inner}."), f"{inner}.name")
        thing(need(block, "input", f"{inner}."), f"{inner}.input")
        if role != "assistant":
            raise refused(f"{path}: `tool_use` blocks can only be in `assistant` messages")
    elif kind == "tool_result":
        _check_id(need(block, "tool_use_id", f"{inner}."), f"{inner}.tool_use_id")
        _check_result(block.get("content"), f"{inner}.content")
        if role != "user":
            raise refused(f"{path}: `tool_result` blocks can only be in `user` messages")
    elif kind in ("image", "document"):
        _check_source(thing(need(block, "source", f"{inner}."), f"{inner}.source"), inner)
    elif kind == "thinking":
        text(need(block, "thinking", f"{inner}."), f"{inner}.thinking")
        text(need(block, "signature", f"{inner}."), f"{inner}.signature")


def _check_id(value: Any, path: str) -> None:
    if not _TOOL_ID.fullmatch(text(value, path)):
        refuse(path, "String should match pattern '^[a-zA-Z0-9_-]+$'")


def _check_result(content: Any, path: str) -> None:
    if content is None or isinstance(content, str):
        return
    for index, block in enumerate(items(content, path)):
        thing(block, f"{path}.{index}")
        if block.get("type") == "text":
            text(need(block, "text", f"{path}.{index}.text."), f"{path}.{index}.text.text")


def _check_source(source: JsonObject, path: str) -> None:
    kinds = ("base64", "content", "file", "text", "url")
    kind = tag_of(source, f"{path}.source", kinds)
    for name in {"base64": ("data", "media_type"), "url": ("url",), "file": ("file_id",)}.get(
        kind, ()
    ):
        need(source, name, f"{path}.source.{kind}.")


def _check_pairs(messages: list[Any]) -> None:
    """Each tool use is answered in the very next turn, each result answers one. Messages of one
    role in a row are one turn."""
    open_ids: list[str] = []
    opened = 0
    seen: set[str] = set()
    index = 0
    while index < len(messages):
        role, begun = messages[index]["role"], index
        uses: list[str] = []
        results: list[tuple[str, str]] = []
        while index < len(messages) and messages[index]["role"] in (role, "system"):
            for number, block in enumerate(_blocks(messages[index])):
                if block["type"] == "tool_use":
                    uses.append(block["id"])
                elif block["type"] == "tool_result":
                    where = f"messages.{index}.content.{number}"
                    results.append((block["tool_use_id"], where))
            index += 1
        _check_turn(open_ids, opened, results)
        for used in uses:
            if used in seen:
                raise refused("messages: `tool_use` ids must be unique")
            seen.add(used)
        open_ids, opened = uses, begun
    if open_ids:
        raise _unanswered(open_ids, opened)


def _check_turn(open_ids: list[str], opened: int, results: list[tuple[str, str]]) -> None:
    answered: set[str] = set()
    for used, where in results:
        if used not in open_ids:
            raise refused(
                f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {used}. Each"
                " `tool_result` block must have a corresponding `tool_use` block in the previous"
                " message."
            )
        if used in answered:
            raise refused(
                f"{where}: each tool_use must have a single result. Found multiple `tool_result`"
                f" blocks with id: {used}"
            )
        answered.add(used)
    missing = [used for used in open_ids if used not in answered]
    if missing:
        raise _unanswered(missing, opened)


def _unanswered(ids: list[str], index: int) -> RefusedError:
    return refused(
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately"
        f" after: {', '.join(ids)}. Each `tool_use` block must have a corresponding `tool_result`"
        " block in the next message."
    )


def _blocks(message: JsonObject) -> list[JsonObject]:
    content = message["content"]
    return content if isinstance(content, list) else []
