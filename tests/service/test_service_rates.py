"""Rates: what can be spent at once, in the long run, and by many names."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from medsiglip_search.errors import TooManyRequests
from medsiglip_search.service.access.rates import Rates


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def spent(rates: Rates, name: str, most: int = 1000, cost: float = 1.0) -> int:
    """Return how often the name can spend now."""
    for number in range(most):
        try:
            rates.spend(name, cost)
        except TooManyRequests:
            return number
    return most


def test_a_burst_and_then_a_steady_rate(clock: Clock) -> None:
    rates = Rates(per_minute=60, burst=5, clock=clock)
    assert spent(rates, "anna") == 5
    clock.now += 0.5
    assert spent(rates, "anna") == 0
    clock.now += 2.5
    assert spent(rates, "anna") == 3
    clock.now += 1_000_000
    assert spent(rates, "anna") == 5


def test_a_refusal_says_when_to_come_again_and_that_is_enough(clock: Clock) -> None:
    rates = Rates(per_minute=6, burst=1, what="failed logins", clock=clock)
    rates.spend("anna")
    clock.now += 2.5
    message = r"^too many failed logins in a short time; try again in 8 s$"
    with pytest.raises(TooManyRequests, match=message) as refused:
        rates.spend("anna")
    assert refused.value.retry_after_s == pytest.approx(7.5)
    clock.now += refused.value.retry_after_s + 1e-6
    rates.spend("anna")


def test_names_do_not_share(clock: Clock) -> None:
    rates = Rates(per_minute=60, burst=3, clock=clock)
    assert [spent(rates, "anna"), spent(rates, "bert")] == [3, 3]


def test_what_costs_more_takes_more_and_at_most_all(clock: Clock) -> None:
    rates = Rates(per_minute=60, burst=5, clock=clock)
    assert spent(rates, "anna", cost=2) == 2
    assert spent(rates, "anna") == 1
    assert spent(rates, "bert", cost=100) == 1
    clock.now += 4.9
    assert spent(rates, "bert", cost=100) == 0
    clock.now += 0.2
    assert spent(rates, "bert", cost=100) == 1


def test_what_is_given_back_can_be_spent_again_but_is_never_more_than_the_burst(clock: Clock) -> None:
    rates = Rates(per_minute=60, burst=2, clock=clock)
    rates.spend("anna")
    rates.give_back("anna")
    rates.give_back("anna")
    assert spent(rates, "anna") == 2


def test_names_are_forgotten_that_spent_the_longest_ago(clock: Clock) -> None:
    rates = Rates(per_minute=1, burst=1, most_names=100, clock=clock)
    for name in ("anna", "bert"):
        rates.spend(name)
    for number in range(97):
        rates.spend(f"other {number}")
    assert spent(rates, "anna") == 0  # and is now the last of all to be forgotten
    for number in range(99):
        rates.spend(f"another {number}")
    assert rates.count == 100
    assert [spent(rates, "anna"), spent(rates, "bert")] == [0, 1]


def test_threads_spend_no_more_than_there_is(clock: Clock) -> None:
    rates = Rates(per_minute=60, burst=500, clock=clock)
    start = threading.Barrier(8)

    def spend(_: int) -> int:
        start.wait()
        return spent(rates, "anna")

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(spend, range(8))) == 500
