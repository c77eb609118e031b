"""The commonest chat requests, decoded and checked in one go: texts, and how to sample.

Where msgspec is installed it does both in a quarter of the time that parsing and looking at each
field take. It only ever says yes: a request that it does not take, be it wrong or be it one with
tools, images or formats, is read by :mod:`~windtunnel.models.dialects.openai_chat_request`, which
knows how OpenAI would refuse it. So nothing is decided twice, and nothing is lost without msgspec.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from windtunnel.models.protocol import HttpRequest, Message, ModelCall, Role
from windtunnel.models.quick import maker

PLAIN: Mapping[str, Any] = {}
"""The options of a call that asks for nothing but text: it was read here."""

Read: TypeAlias = Callable[[HttpRequest], ModelCall | None]

# Their `raw` is left out, and made when somebody looks at it.
_model_call = maker(ModelCall, without=("raw",))
_message = maker(Message, without=("raw",))
_ROLES: dict[str, Role] = {"_User": "user", "_Assistant": "assistant"}


def _nothing(request: HttpRequest) -> ModelCall | None:
    """What reads no request, for want of msgspec."""
    return None


read_plain: Read = _nothing
"""The call that a plain request makes; None where it is another, or wrong."""
try:
    import msgspec
except ImportError:
    pass  # it is quicker with it, and the same without
else:
    _Meta = msgspec.Meta

    class _User(msgspec.Struct, tag="user", tag_field="role", forbid_unknown_fields=True, gc=False):
        content: str

    class _Assistant(
        msgspec.Struct, tag="assistant", tag_field="role", forbid_unknown_fields=True, gc=False
    ):
        content: str

    class _System(
        msgspec.Struct, tag="system", tag_field="role", forbid_unknown_fields=True, gc=False
    ):
        content: str

    class _Developer(
        msgspec.Struct, tag="developer", tag_field="role", forbid_unknown_fields=True, gc=False
    ):
        content: str

    _Tokens: TypeAlias = Annotated[int, _Meta(ge=0)] | None
    _Penalty: TypeAlias = Annotated[float, _Meta(ge=-2, le=2)] | None

    class _Chat(msgspec.Struct, forbid_unknown_fields=True, gc=False):
        model: str
        messages: Annotated[list[_User | _Assistant | _System | _Developer], _Meta(min_length=1)]
        stream: bool | None = None
        max_tokens: _Tokens = None
        max_completion_tokens: _Tokens = None
        n: Literal[1] | None = None
        temperature: Annotated[float, _Meta(ge=0, le=2)] | None = None
        top_p: Annotated[float, _Meta(ge=0, le=1)] | None = None
        frequency_penalty: _Penalty = None
        presence_penalty: _Penalty = None
        seed: Annotated[int, _Meta(ge=-(2**63), le=2**63 - 1)] | None = None
        user: str | None = None
        safety_identifier: str | None = None
        prompt_cache_key: str | None = None

    _decode = msgspec.json.Decoder(_Chat).decode

    def _read(request: HttpRequest) -> ModelCall | None:
        try:
            chat = _decode(request.body)
        except ValueError:  # so are msgspec's own, and those of UTF-8
            return None
        if len(chat.messages) == 1 and type(chat.messages[0]) is _User:
            system = ""
            messages: tuple[Message, ...] = (_message("user", chat.messages[0].content),)
        else:
            system, messages = _conversation(chat.messages)
        limit = chat.max_completion_tokens
        return _model_call(
            "openai",
            "chat",
            chat.model,
            messages=messages,
            system=system,
            stream=chat.stream is True,
            max_tokens=(limit if limit is not None else chat.max_tokens) or None,
            options=PLAIN,
            request=request,
        )

    read_plain = _read


def _conversation(said: list[Any]) -> tuple[str, tuple[Message, ...]]:
    system: list[str] = []
    messages: list[Message] = []
    for one in said:
        role = _ROLES.get(type(one).__name__)
        if role is None:
            system.append(one.content)
        else:
            messages.append(_message(role, one.content))
    return "\n".join(system), tuple(messages)


__all__ = ["PLAIN", "read_plain"]
