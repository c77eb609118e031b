"""Doubles that were told what the contract's phrases give: how a test would script them."""

from __future__ import annotations

from windtunnel.sessions.fake import MockAsyncExecutor, MockREPLSession, MockRequest
from windtunnel.sessions.fake.double import Double
from windtunnel.sessions.laws.phrases import PYTHON, READ, Language
from windtunnel.sessions.protocol import Grants


def scripted_executor(language: Language = PYTHON) -> MockAsyncExecutor:
    """An executor's double for the contract."""
    executor = MockAsyncExecutor()
    for phrase in (
        *(language.answer, language.other, language.statement, language.kept, language.fresh),
        *(language.fails, language.broken, language.prints),
    ):
        script = executor.on(phrase.code)
        if phrase.error_type:
            script.fails(phrase.error_type)
        else:
            script.returns(phrase.value, output=phrase.output)
    _script_the_rest(executor, language)
    executor.on(language.echo.code).computes(lambda call: call.inputs["it"])
    reads, outside = language.reads, language.reads_outside
    executor.on(reads.code).needs("fs.read", "/data/a", operation="read").returns(reads.value)
    executor.on(outside.code).needs("fs.read", "/etc/passwd", operation="read").returns("")
    if language.changes is not None:
        executor.on(language.changes.code).computes(_changed)
    return executor


def scripted_session(language: Language = PYTHON, *, capabilities: Grants = ()) -> MockREPLSession:
    """A session's double for the contract: it reads all but what does not end."""
    session = MockREPLSession(functions=[READ], capabilities=capabilities)
    _script_the_rest(session, language)
    session.on(language.spins.code).returns()
    session.mock_function("spin").hangs()
    return session


def _script_the_rest(double: Double, language: Language) -> None:
    double.on(language.forever.code).hangs()
    if language.floods is not None:
        double.on(language.floods.code).returns(output="x" * 1_000_001)
    if language.deep is not None:
        double.on(language.deep.code).fails("RecursionError")


def _changed(call: MockRequest) -> object:
    changed: list[object] = [*call.inputs["it"], "more"]
    return changed


__all__ = ["scripted_executor", "scripted_session"]
