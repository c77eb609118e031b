"""What happened in a world, as facts in words: messages, faults, lives of nodes, logs.

It reads what the network keeps of its last messages and the notes of the trace, and joins the
two by time. Nothing here chooses or draws.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from windtunnel.draw import clean
from windtunnel.sim.net import stream
from windtunnel.sim.trace import Note, Value

if TYPE_CHECKING:
    from windtunnel.sim.world import World

Kind: TypeAlias = Literal["message", "mark", "across"]
Look: TypeAlias = Literal["good", "skip", "bad"]

_LONGEST = 72

BOOTS = "boots again"
"""What is said of a node that restarts."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One line of a story.

    :param at_ns: when it took effect; of a message, its arrival, or else its departure.
    :param kind: a ``message`` from ``node`` to ``target``, a ``mark`` at a node, or something
        ``across`` all of them.
    :param look: ``bad`` for what went wrong, ``skip`` for what is undecided.
    :param weight: how much the story needs it, 0 (the end of a stream) to 3 (a fault).
    :param sent_ns: when a message left.
    :param state: what the node is from here on, when that changes.
    :param count: how many alike it stands for; the last of them at ``until_ns``.
    """

    at_ns: int
    kind: Kind
    text: str
    node: str = ""
    target: str = ""
    look: Look = "good"
    weight: int = 2
    sent_ns: int = -1
    state: str = ""
    count: int = 1
    until_ns: int = -1

    @property
    def arrived(self) -> bool:
        """Whether a message did arrive."""
        return self.kind == "message" and self.look == "good"


def collect(world: World, end_ns: int) -> list[Fact]:
    """All facts that a world still knows, up to a time, in the order of their times."""
    notes = [note for note in world.trace.notes if note.at_ns <= end_ns]
    facts = [*_messages(world, end_ns), *_noted(notes)]
    facts.sort(key=lambda fact: (fact.at_ns, _rank(fact)))
    return facts


def _rank(fact: Fact) -> int:
    """The order at one moment, which a round of steps shares: what arrives explains what is
    done then, and what was done explains why something sent then does not arrive."""
    if fact.kind != "message" or fact.weight > 1:
        return 1
    return 0 if fact.arrived else 2


# Messages.


def _messages(world: World, end_ns: int) -> Iterator[Fact]:
    for segment in world.net.segments:
        sent, done = segment[stream.SENT], segment[stream.DONE]
        if sent > end_ns:
            continue
        end, size = segment[stream.END], segment[stream.SIZE]
        text = _payload(segment[stream.WHAT], size) if size else "closes"
        look: Look = "good"
        if not 0 <= done <= end_ns:
            done = sent
            look = "bad" if end.over else "skip"
            text += ", lost" if end.over else ", not arrived"
        yield Fact(
            at_ns=done,
            kind="message",
            node=end.node.name,
            target=end.peer.node.name,
            text=text,
            look=look,
            weight=1 if size else 0,
            sent_ns=sent,
        )


def _payload(what: Any, size: int) -> str:
    """What a message says where it is short text, and else how long it is."""
    data = b"".join(_flat(what))
    readable = _readable(data) if data and len(data) == size else ""
    return f'"{readable}"' if readable else f"{size} B"


def _flat(what: Any) -> Iterator[bytes]:
    """Bytes that were written at the same moment are kept as lists of lists."""
    if isinstance(what, bytes):
        yield what
    elif isinstance(what, list):
        for part in what:
            yield from _flat(part)


def _readable(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    odd = any(not (character.isprintable() or character in "\r\n\t") for character in text)
    if odd or "\N{REPLACEMENT CHARACTER}" in text:
        return ""
    # A head of many lines and what it carries: how HTTP and its kin begin, and what they say.
    head, _, body = text.replace("\r\n", "\n").strip().partition("\n\n")
    if body:
        first = head.partition("\n")[0].removesuffix(" HTTP/1.1")
        head = f"{first} \N{HORIZONTAL ELLIPSIS} {body}"
    shown = clean(head)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


# Notes.


def _noted(notes: Iterable[Note]) -> Iterator[Fact]:
    after_crash = {
        (note.at_ns, note.node): str(note.facts.get("after_crash"))
        for note in notes
        if note.kind == "connections"
    }
    yield from _datagrams(note for note in notes if _is_of_datagram(note))
    for note in notes:
        if note.kind == "crash":
            yield _crash(note, after_crash.get((note.at_ns, note.node), ""))
        elif note.kind not in _TOLD_ELSEWHERE and not _is_of_datagram(note):
            yield _WORDS.get(note.kind, _unknown)(note)


def _is_of_datagram(note: Note) -> bool:
    # "drop" is also a verb, which has no bytes.
    return note.kind in ("send", "deliver", "drop") and "bytes" in note.facts


def _datagrams(notes: Iterable[Note]) -> Iterator[Fact]:
    """Datagrams with what became of them. Which of several alike it was is not known: the
    earliest that was sent is taken."""
    under_way: dict[tuple[object, ...], deque[Note]] = {}
    for note in notes:
        facts = note.facts
        waiting = under_way.setdefault((facts["src"], facts["dst"], facts["bytes"]), deque())
        if note.kind == "send":
            waiting.append(note)
            continue
        again = not waiting
        sent = note if again else waiting.popleft()
        text = f"datagram of {facts['bytes']} B"
        if note.kind == "deliver":
            yield _datagram(sent, f"{text}, again" if again else text, note.at_ns, "good")
        else:
            yield _datagram(sent, f"{text}, lost", sent.at_ns, "bad")
    for waiting in under_way.values():
        for sent in waiting:
            text = f"datagram of {sent.facts['bytes']} B, not arrived"
            yield _datagram(sent, text, sent.at_ns, "skip")


def _datagram(sent: Note, text: str, at_ns: int, look: Look) -> Fact:
    return Fact(
        at_ns=at_ns,
        kind="message",
        node=str(sent.facts["src"]),
        target=str(sent.facts["dst"]),
        text=text,
        look=look,
        weight=1,
        sent_ns=sent.at_ns,
    )


# The network keeps the segment itself, and what a crash does to connections is told with it.
_TOLD_ELSEWHERE = ("lost", "connections")


def _between(note: Note, text: str, *, look: Look, weight: int) -> Fact:
    """Something that one node tells another, with no time between."""
    return Fact(
        at_ns=note.at_ns,
        kind="message",
        node=str(note.facts.get("src", note.node)),
        target=str(note.facts.get("dst", note.node)),
        text=text,
        look=look,
        weight=weight,
        sent_ns=note.at_ns,
    )


def _mark(note: Note, text: str, *, look: Look = "good", weight: int = 3, state: str = "") -> Fact:
    return Fact(
        at_ns=note.at_ns,
        kind="mark",
        node=note.node,
        text=text,
        look=look,
        weight=weight,
        state=state,
    )


def _across(note: Note, *, look: Look = "bad") -> Fact:
    """A verb of the network, as it was called."""
    facts = dict(note.facts)
    text = note.kind
    if groups := facts.pop("groups", None):
        text += f" {groups}"
    if "a" in facts and "b" in facts:
        text += f" {facts.pop('a')} | {facts.pop('b')}"
    if isinstance(facts.get("links"), int):
        del facts["links"]  # how many they are helps nobody
    rest = _listed(facts)
    return Fact(
        at_ns=note.at_ns, kind="across", text=f"{text} ({rest})" if rest else text, look=look,
        weight=3,
    )  # fmt: skip


def _crash(note: Note, after: str) -> Fact:
    words = {"reset": "; its connections are reset", "silence": "; its peers hear nothing of it"}
    return _mark(note, "crashes" + words.get(after, ""), look="bad", state="crashed")


def _exit(note: Note) -> Fact:
    error = note.facts.get("error")
    if error is None:
        return _mark(note, "its program ends", look="skip", weight=2)
    return _mark(note, f"its program fails: {error}", look="bad")


def _clock(note: Note) -> Fact:
    facts = note.facts
    if "jump_s" in facts:
        return _mark(note, f"its wall clock jumps by {facts['jump_s']:+g} s", look="bad")
    return _mark(note, f"its clock runs {_ppm(facts.get('drift_ppm'))}", look="bad")


def _ppm(value: Value) -> str:
    rate = float(value or 0)
    return f"{abs(rate):g} ppm {'fast' if rate > 0 else 'slow'}" if rate else "true again"


def _log(note: Note) -> Fact:
    facts = note.facts
    level = str(facts.get("level", ""))
    bad = level in ("ERROR", "CRITICAL")
    weight = 3 if bad else 1 if level == "DEBUG" else 2
    said = clean(str(facts.get("message", "")))
    return _mark(
        note, f"{level} {facts.get('logger', '')}: {said}", look="bad" if bad else "skip",
        weight=weight,
    )  # fmt: skip


def _unknown(note: Note) -> Fact:
    rest = _listed(note.facts)
    return _mark(note, f"{note.kind}: {rest}" if rest else note.kind, look="skip", weight=2)


def _listed(facts: Mapping[str, Value]) -> str:
    return ", ".join(f"{name}={clean(str(value))}" for name, value in facts.items())


_WORDS: dict[str, Callable[[Note], Fact]] = {
    "connect": lambda note: _between(
        note, f"connects to port {note.facts.get('port')}", look="good", weight=1
    ),
    "connect failed": lambda note: _mark(
        note, f"cannot connect to {note.facts.get('to')}: {note.facts.get('error')}",
        look="bad", weight=1,
    ),
    "reset": lambda note: _between(note, "resets the connection", look="good", weight=2),
    "timeout": lambda note: _mark(
        note, f"gives up its connection to {note.facts.get('dst')}: timed out", look="bad"
    ),
    "restart": lambda note: _mark(note, BOOTS, state="up"),
    "outlived": lambda note: _mark(
        note, f"{note.facts.get('name')} outlived the crash", look="skip"
    ),
    "stop": lambda note: _mark(note, "is asked to stop", look="skip"),
    "pause": lambda note: _mark(note, "is paused", look="skip", state="paused"),
    "resume": lambda note: _mark(note, "goes on", state="up"),
    "exit": _exit,
    "clock": _clock,
    "log": _log,
    "escape": lambda note: _mark(note, f"tries to escape: {note.facts.get('what')}", look="bad"),
    "blocking call": lambda note: _mark(
        note, f"would block the world in {note.facts.get('what')}()", look="bad"
    ),
    "heal": lambda note: _across(note, look="good"),
    "release": lambda note: _across(note, look="good"),
    **dict.fromkeys(("partition", "hold", "slow", "drop", "shape", "cut"), _across),
}  # fmt: skip
