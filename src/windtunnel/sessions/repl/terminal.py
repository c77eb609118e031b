"""The prompt in a terminal: highlighting, completion, several lines, a history file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from prompt_toolkit import PromptSession, print_formatted_text
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText, PygmentsTokens
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import DynamicLexer, Lexer, PygmentsLexer, SimpleLexer
from prompt_toolkit.styles import Style as Styles
from pygments import lex
from pygments.lexers.python import PythonLexer

from windtunnel.sessions.repl.entry import is_whole
from windtunnel.sessions.repl.screen import Style

_STYLES = Styles.from_dict({"error": "ansired", "dim": "ansibrightblack", "bold": "bold"})
_LONGEST_HIGHLIGHT = 4000


class Terminal:
    """Writes to a terminal, and reads from it.

    :param name: what stands at the prompt.
    :param words: what can be completed, asked for each time.
    :param history: the file of earlier lines; None for none.
    """

    def __init__(self, name: str, words: Callable[[], list[str]], history: Path | None) -> None:
        self._name = name
        self._session: PromptSession[str] = PromptSession(
            history=self._kept(history),
            lexer=DynamicLexer(self._lexer),
            completer=Words(words),
            complete_while_typing=False,
            multiline=True,
            prompt_continuation="... ",
            key_bindings=_keys(),
            enable_history_search=True,
            style=_STYLES,
        )
        self._shows_progress = False

    async def read(self) -> str | None:
        """What was typed; None at Ctrl-D, empty at Ctrl-C."""
        try:
            return await self._session.prompt_async(f"{self._name}> ")
        except KeyboardInterrupt:
            return ""
        except EOFError:
            return None

    def say(self, text: str, style: Style = "") -> None:
        if style == "value" and len(text) < _LONGEST_HIGHLIGHT:
            tokens = list(lex(text, PythonLexer()))
            print_formatted_text(PygmentsTokens(tokens), end="")
            return
        shown = "" if style == "value" or not style else f"class:{style}"
        print_formatted_text(FormattedText([(shown, text)]), style=_STYLES)

    def output(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    async def confirm(self, question: str) -> bool:
        asking: PromptSession[str] = PromptSession()
        try:
            answer = await asking.prompt_async(f"{question} [y/N] ")
        except (KeyboardInterrupt, EOFError):
            return False
        return answer.strip().lower() in ("y", "yes")

    def progress(self, text: str) -> None:
        if text or self._shows_progress:
            sys.stdout.write(f"\r\x1b[K{text}")
            sys.stdout.flush()
        self._shows_progress = bool(text)

    def _lexer(self) -> Lexer:
        text = self._session.default_buffer.text
        return SimpleLexer() if text.startswith(".") else PygmentsLexer(PythonLexer)

    def _kept(self, path: Path | None) -> History:
        if path is None:
            return InMemoryHistory()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # What is typed may hold secrets: nobody else reads it.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        except OSError as error:
            self.say(f"no history is kept: {error}", "dim")
            return InMemoryHistory()
        return FileHistory(str(path))


class Words(Completer):
    """Completes commands, names and, after ``.save`` and ``.load``, files."""

    def __init__(self, words: Callable[[], list[str]]) -> None:
        self._words = words
        self._files = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """What could stand at the cursor."""
        before = document.text_before_cursor
        for command in (".save ", ".load "):
            if before.startswith(command):
                rest = before.removeprefix(command)
                yield from self._files.get_completions(Document(rest), complete_event)
                return
        word = document.get_word_before_cursor(WORD=before.startswith("."))
        word = word if before.startswith(".") else _last_name(before)
        for each in self._words():
            if word and each.startswith(word):
                yield Completion(each, start_position=-len(word))


def _last_name(text: str) -> str:
    end = len(text)
    while end and (text[end - 1].isalnum() or text[end - 1] == "_"):
        end -= 1
    return text[end:]


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.is_cursor_at_the_end and is_whole(buffer.text):
            buffer.validate_and_handle()
            return
        line = buffer.document.current_line_before_cursor
        indent = line[: len(line) - len(line.lstrip())]
        buffer.insert_text("\n" + indent + ("    " if line.rstrip().endswith(":") else ""))

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    return keys
