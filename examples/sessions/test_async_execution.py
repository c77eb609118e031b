"""Running guest code in a real engine, asynchronously.

The fixture ``session`` is a session of the embedded engine (monty), fresh for each test.
"""

import asyncio

import pytest

from windtunnel import sessions

pytestmark = pytest.mark.asyncio


async def test_simple_calculation(session):
    result = await session.run("6 * 7")
    assert result.ok
    assert result.value == 42


async def test_complex_calculation(session):
    """The value of the code is that of its last expression."""
    result = await session.run(
        """
        principal, rate, years = 1000, 0.05, 10
        balance = principal
        for year in range(years):
            balance = balance * (1 + rate)
        round(balance, 2)
        """
    )
    assert result.value == 1628.89


async def test_strings(session):
    result = await session.run("' '.join(word.upper() for word in 'the quick fox'.split())")
    assert result.value == "THE QUICK FOX"


async def test_lists(session):
    result = await session.run("sorted([n * n for n in range(5) if n % 2 == 0], reverse=True)")
    assert result.value == [16, 4, 0]


async def test_objects(session):
    result = await session.run(
        """
        order = {'id': 7, 'items': [{'name': 'pen', 'price': 2}, {'name': 'ink', 'price': 5}]}
        order['total'] = sum(item['price'] for item in order['items'])
        order
        """
    )
    assert result.value["total"] == 7
    assert [item["name"] for item in result.value["items"]] == ["pen", "ink"]


async def test_inputs_cross_exactly(session):
    given = {"text": "naïve\n'quoted'", "big": 10**40, "nested": [None, True, {"pi": 3.14}]}
    result = await session.run("given", inputs={"given": given})
    assert result.value == given


async def test_a_function_is_defined_and_called(session):
    await session.run(
        """
        def greet(name, punctuation='!'):
            return 'Hello, ' + name + punctuation
        """
    )
    assert await session.call("greet", "Ann") == "Hello, Ann!"
    assert await session.call("greet", "Bob", punctuation="?") == "Hello, Bob?"


async def test_names_live_from_one_run_to_the_next(session):
    await session.run("total = 10")
    await session.run("total = total + 5")
    assert (await session.run("total")).value == 15


async def test_what_was_executed_is_remembered(session):
    for code in ("1 + 1", "2 + 2", "1 / 0"):
        await session.run(code)
    assert [record.code for record in session.history] == ["1 + 1", "2 + 2", "1 / 0"]
    assert [record.result.ok for record in session.history] == [True, True, False]


async def test_a_failure_is_an_outcome(session):
    """Code that fails does not raise here: the result says what happened."""
    result = await session.run("{}['missing']")
    assert not result.ok
    assert result.error_type == "KeyError"


async def test_output_is_captured(session):
    result = await session.run("print('one'); print('two'); 3")
    assert (result.value, result.output) == (3, "one\ntwo\n")


async def test_an_endless_loop_is_ended_and_the_session_serves_on(session):
    result = await session.run("while True: pass", timeout_s=0.2)
    assert result.error_type == "TimeoutError"
    assert (await session.run("'still here'")).value == "still here"


async def test_an_executor_runs_each_piece_of_code_from_nothing(executor):
    assert (await executor.execute("x = 1")).ok
    assert (await executor.execute("x")).error_type == "NameError"


async def test_several_executions_at_the_same_time(executor):
    results = await asyncio.gather(*(executor.execute(f"{n} ** 2") for n in range(5)))
    assert [result.value for result in results] == [0, 1, 4, 9, 16]


async def test_a_host_function_needs_a_capability():
    """What reaches outside is a host function, and each needs a capability that was granted."""

    @sessions.host_function(needs="rates.read", resource="currency")
    def rate(currency: str) -> float:
        return {"EUR": 1.0, "USD": 1.1}[currency]

    token = sessions.CapabilityToken(
        "rates.read", sessions.CapabilityConstraint(resources="USD", uses=1)
    )
    async with sessions.open("monty", functions=[rate], capabilities=[token]) as session:
        assert (await session.run("rate('EUR')")).error_type == "CapabilityDenied"
        assert (await session.run("rate('USD') * 100")).value == pytest.approx(110)
        assert (await session.run("rate('USD')")).error_type == "CapabilityDenied"  # used up
        assert [one.resource for one in session.capabilities.violations] == ["EUR", "USD"]
