"""Calling functions that the guest defined, from Python, as if they were Python's own."""

import asyncio

import pytest

from windtunnel.sessions import GuestError

RULES = """
def double(x):
    return x * 2

def total(price, quantity, discount=0):
    return price * quantity * (100 - discount) / 100

def describe(first, *rest, **named):
    return [first, list(rest), sorted(named.items())]

def shout(text):
    return text.upper() + '!'

def keep_even(numbers):
    return [n for n in numbers if n % 2 == 0]

def approve(order):
    if order['total'] > order['limit']:
        raise ValueError('over the limit')
    return {'id': order['id'], 'approved': True}

def echo(value):
    return value
"""


@pytest.fixture
def rules(session):
    """A session in which the guest has defined its functions."""
    assert session.run_sync(RULES).ok
    return session


def test_a_simple_callback(rules):
    double = rules.callback("double")
    assert double(21) == 42


def test_many_arguments(rules):
    assert rules.callback("total")(9.5, 4) == 38.0
    assert rules.callback("total")(9.5, quantity=4, discount=50) == 19.0


def test_any_number_of_arguments(rules):
    describe = rules.callback("describe")
    assert describe(1, 2, 3, b=5, a=4) == [1, [2, 3], [("a", 4), ("b", 5)]]


@pytest.mark.parametrize(
    "value",
    [None, True, 10**30, -0.5, "naïve\n'quoted'", [1, [2, {}]], {"a": [1, None]}, float("inf")],
    ids=repr,
)
def test_return_values_cross_exactly(rules, value):
    returned = rules.callback("echo")(value)
    assert returned == value
    assert type(returned) is type(value)


def test_string_processing(rules):
    assert [rules.callback("shout")(word) for word in ("hi", "there")] == ["HI!", "THERE!"]


def test_array_processing(rules):
    assert rules.callback("keep_even")(list(range(10))) == [0, 2, 4, 6, 8]


def test_as_a_key_for_sorting(rules):
    """A callback is a function like any other."""
    assert sorted([3, 1, 2], key=rules.callback("double"), reverse=True) == [3, 2, 1]


def test_business_logic(rules):
    approve = rules.callback("approve")
    assert approve({"id": 1, "total": 80, "limit": 100}) == {"id": 1, "approved": True}
    with pytest.raises(GuestError, match="over the limit") as refused:
        approve({"id": 2, "total": 120, "limit": 100})
    assert refused.value.error_type == "ValueError"


def test_a_default_takes_the_place_of_a_failure(rules):
    approve = rules.callback("approve", default={"approved": False})
    assert approve({"id": 2, "total": 120, "limit": 100}) == {"approved": False}


def test_an_error_handler_decides_what_a_failure_gives(rules):
    failures = []

    def on_error(error):
        failures.append(error.error_type)
        return "handled"

    assert rules.callback("approve", on_error=on_error)({"id": 3}) == "handled"
    assert failures == ["KeyError"]


@pytest.mark.asyncio
async def test_awaited(session):
    await session.run(RULES)
    double = session.callback("double")
    assert await double.call(4) == 8


@pytest.mark.asyncio
async def test_called_at_the_same_time(session):
    await session.run(RULES)
    double = session.callback("double")
    assert await asyncio.gather(*(double.call(n) for n in range(20))) == [2 * n for n in range(20)]
