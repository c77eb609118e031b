"""Types that sessions give, by their public names."""

from __future__ import annotations

import pytest

from windtunnel import sessions


def test_a_use_says_which_token_admitted_it_and_what_was_judged() -> None:
    context = sessions.CapabilityContext("root")
    token = context.grant("fs.read", resources="/data/**")
    use = context.take("fs.read", "/data/x/../a.csv")
    assert isinstance(use, sessions.CapabilityUse)
    assert (use.token, use.resource) == (token, "/data/a.csv")


def test_a_refusal_is_kept_as_a_violation() -> None:
    context = sessions.CapabilityContext("root")
    with pytest.raises(sessions.CapabilityDenied):
        context.use("fs.read", "/data/a.csv")
    (violation,) = context.violations
    assert isinstance(violation, sessions.CapabilityViolation)
    assert "test_sessions_public_names.py:" in violation.location


def test_an_executor_of_an_engine_says_where_the_time_went() -> None:
    with sessions.executor("monty") as executor:
        assert isinstance(executor, sessions.EngineExecutor)
        assert isinstance(executor, sessions.Executor)
        timings = executor.execute_sync("1 + 1").timings
    assert isinstance(timings, sessions.Timings)
    assert timings.total_s == timings.start_s + timings.run_s > 0


def test_callbacks_of_a_session_are_a_mapping_of_names() -> None:
    with sessions.open("monty") as session:
        assert session.run_sync("def double(n): return 2 * n").ok
        double = session.callback("double")
        assert isinstance(session.callbacks, sessions.Callbacks)
        assert dict(session.callbacks) == {"double": double}
        assert session.callbacks["double"](21) == 42
