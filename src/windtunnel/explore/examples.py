"""Hypothesis inside a simulated test: each example in a world of its own, all from one seed.

What an example does must depend on its choices alone, or Hypothesis can neither shrink nor
repeat it; so the world begins anew for each, under the same seed. The choices of the example
that failed become part of the token.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from windtunnel.explore.one_seed import OneSeed
from windtunnel.sim.loop import new_loop

# As Hypothesis prints it where settings.print_blob is set; `decorator` below gives it back.
_BLOB = re.compile(r"@reproduce_failure\((?P<version>'[^']*'), (?P<blob>b'[^']*'|b\"[^\"]*\")\)")


def is_hypothesis_test(function: Any) -> bool:
    """Whether ``@given`` made this test function."""
    return hasattr(getattr(function, "hypothesis", None), "inner_test")


@contextlib.contextmanager
def under(run: OneSeed, function: Any) -> Iterator[None]:
    """Within the block, that test function draws from the run's seed and runs in its worlds."""
    function = getattr(function, "__func__", function)
    handle = function.hypothesis
    inner, attributes = handle.inner_test, dict(vars(function))
    handle.inner_test = _example_in_world(run, inner)
    run.by_examples = True
    function._hypothesis_internal_use_seed = run.request.seed.value
    function._hypothesis_internal_use_settings = _settings(function)
    if run.request.choices:
        version, blob = run.request.choices
        function._hypothesis_internal_use_reproduce_failure = (version, blob.encode())
    try:
        yield
    finally:
        handle.inner_test = inner
        vars(function).clear()
        vars(function).update(attributes)


def _settings(function: Any) -> Any:
    """The test's own, without what lets another run or a slow machine decide."""
    from hypothesis import HealthCheck, Phase, settings

    own: Any = getattr(function, "_hypothesis_internal_use_settings", settings.default)
    no_checks = {
        HealthCheck.too_slow,  # of the real clock
        HealthCheck.differing_executors,  # the test is run once a seed
        HealthCheck.function_scoped_fixture,  # `world` is another one in each example
    }
    return settings(
        own,
        database=None,
        deadline=None,
        print_blob=True,
        phases=[phase for phase in own.phases if phase is not Phase.explain],  # it blames us
        suppress_health_check=no_checks | set(own.suppress_health_check),
    )


def _example_in_world(run: OneSeed, inner: Callable[..., Any]) -> Callable[..., None]:
    @functools.wraps(inner)
    def example(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        with run.example(), run.body():
            in_new_loop(inner(*args, **kwargs))

    return example


def in_new_loop(coroutine: Any) -> Any:
    """Run a coroutine to its end on a loop of the world that is armed."""
    __tracebackhide__ = True
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(coroutine)


def choices_in(error: BaseException | None) -> tuple[str, ...]:
    """Version and choices of the failing example that Hypothesis named; empty when it did not.

    >>> error = AssertionError()
    >>> error.add_note("... by temporarily adding @reproduce_failure('6.100.0', b'AAE=') ...")
    >>> choices_in(error)
    ('6.100.0', 'AAE=')
    """
    for each in _and_inner(error):
        found = _BLOB.search("\n".join(getattr(each, "__notes__", ())))
        if found:
            blob: bytes = ast.literal_eval(found["blob"])
            return ast.literal_eval(found["version"]), blob.decode()
    return ()


def _and_inner(error: BaseException | None) -> Iterator[BaseException]:
    if error is None:
        return
    yield error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _and_inner(inner)
