"""What a law is, and the laws that every API has in its own words."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from windtunnel.models.laws.peer import (
    Answer,
    NotExercisedError,
    Peer,
    at_once,
    broken,
    expect,
    shown,
)

Check = Callable[[Peer], None]
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
"""What a shaped answer must satisfy."""
WHERE: Mapping[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
"""What the tool of the laws takes."""
TOOL = "look_up_weather"
QUESTION = "Call the tool to look up the weather in Oslo."
UNKNOWN_MODEL = "windtunnel-no-such-model"
WRONG_KEY = "windtunnel-wrong-key"


@dataclasses.dataclass(frozen=True, slots=True)
class Law:
    """Something a server of an API keeps to.

    :param dialect: the API.
    :param name: a word for it.
    :param says: the sentence.
    :param source: the page of the API that says so.
    :param check: raises ``BrokenError`` where it does not hold, ``NotExercisedError`` where the
        server did not come to it.
    """

    dialect: str
    name: str
    says: str
    source: str
    check: Check


class Book:
    """The laws of one API, in order.

    :param source: the page that a law is from which names none.
    """

    def __init__(self, dialect: str, source: str) -> None:
        self.dialect = dialect
        self.source = source
        self.laws: list[Law] = []

    def law(self, name: str, says: str, source: str = "") -> Callable[[Check], Check]:
        """Decorator: the function is the check of a law."""

        def add(check: Check) -> Check:
            self.laws.append(Law(self.dialect, name, says, source or self.source, check))
            return check

        return add


@dataclasses.dataclass(frozen=True)
class Ways:
    """How the laws that all APIs share are put to one of them.

    :param path: of the endpoint that chats, for a peer and for streams or not.
    :param body: of a chat with that text, streamed or not.
    :param named: of a chat whose whole answer must be that one word, by the schema it sends.
    :param said: the text of an answer.
    :param refused: checks the shape of an error, given the status it must have.
    :param nowhere: a path that the API has not.
    """

    path: Callable[[Peer, bool], str]
    body: Callable[[Peer, str, bool], Mapping[str, Any]]
    named: Callable[[Peer, str], Mapping[str, Any]]
    said: Callable[[Any], str]
    refused: Callable[[Answer, tuple[int, ...]], None]
    nowhere: str
    wrong_key: tuple[int, ...] = (401, 403)


def allowed(answer: Answer, what: str) -> Any:
    """The JSON of an answer to something that a server need not have.

    :raises NotExercisedError: where the server refuses it.
    """
    if answer.status in (400, 404, 405, 422, 501) or (
        answer.status == 500 and b"support" in answer.body
    ):
        raise NotExercisedError(f"{what} refused with {answer.status}: {shown(answer.body)}")
    return answer.json()


def satisfies(text: str) -> None:
    """The text is JSON that satisfies SCHEMA."""
    try:
        value = json.loads(text)
    except ValueError:
        broken(f"the answer is not JSON: {shown(text)}")
    good = (
        isinstance(value, dict)
        and set(value) == {"city", "degrees"}
        and isinstance(value["city"], str)
        and isinstance(value["degrees"], int)
        and not isinstance(value["degrees"], bool)
    )
    expect(good, f"the answer does not satisfy the schema: {shown(value)}")


def numbers(values: Any, what: str) -> list[float]:
    """A vector: a list of numbers, not empty."""
    good = isinstance(values, list) and values and all(type(one) in (int, float) for one in values)
    expect(bool(good), f"{what} is no vector: {shown(values)}")
    return list(values)


def add_common(book: Book, ways: Ways) -> None:
    """The laws that every API has."""
    given: tuple[tuple[str, str, Callable[[Ways, Peer], None]], ...] = (
        ("malformed-json", "a body that is not JSON is refused with 400 in the API's error shape",
         _malformed),
        ("wrong-key", "a wrong key is refused in the API's error shape", _wrong_key),
        ("unknown-path", "an unknown path is 404 in the API's error shape; so is its HEAD",
         _unknown_path),
        ("concurrent", "requests at once each get their own answer", _concurrent),
        ("client-gone", "a client that goes away in mid-stream does not harm the next", _gone),
    )  # fmt: skip
    for name, says, check in given:
        book.law(name, says)(functools.partial(check, ways))


def _malformed(ways: Ways, peer: Peer) -> None:
    for body in (b'{"model": ', b"not json"):
        ways.refused(peer.post(ways.path(peer, False), body), (400,))


def _wrong_key(ways: Ways, peer: Peer) -> None:
    if peer.key is None:
        raise NotExercisedError("no key was given (--key), so the server may ask for none")
    body = ways.body(peer, "Hello", False)
    ways.refused(
        peer.ask("POST", ways.path(peer, False), body, key=WRONG_KEY),
        ways.wrong_key,
    )


def _unknown_path(ways: Ways, peer: Peer) -> None:
    ways.refused(peer.ask("GET", ways.nowhere), (404,))
    head = peer.ask("HEAD", ways.nowhere)
    expect(head.status == 404, f"HEAD {ways.nowhere} has status {head.status}, not 404")


def _concurrent(ways: Ways, peer: Peer) -> None:
    words = [f"word-{letter * 3}" for letter in "abcdefgh"]
    path = ways.path(peer, False)

    def ask(word: str) -> Answer:
        return peer.post(path, ways.named(peer, word))

    answers = at_once([functools.partial(ask, word) for word in words])
    own = 0
    for word, answer in zip(words, answers, strict=True):
        text = ways.said(allowed(answer, "an answer of one given word is"))
        others = [other for other in words if other != word and other in text]
        expect(not others, f"the answer to {word} has {', '.join(others)}: {shown(text)}")
        own += word in text
    if own < len(words):
        raise NotExercisedError(
            f"{own} of {len(words)} answers had the word that their schema demands"
        )


def _gone(ways: Ways, peer: Peer) -> None:
    for _ in range(3):
        peer.leave(ways.path(peer, True), ways.body(peer, "Count from 1 to 50.", True))
        ways.said(peer.post(ways.path(peer, False), ways.body(peer, "Hello", False)).json())
