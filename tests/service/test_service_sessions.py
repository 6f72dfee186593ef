"""Sessions of browsers: how they begin and how they end."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from medsiglip_search.errors import Unauthenticated
from medsiglip_search.service.access.sessions import Sessions
from medsiglip_search.service.callers import Principal

ANNA, BERT = Principal("anna", "reader"), Principal("bert", "admin")
HOUR_S = 3600


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def has_ended(sessions: Sessions, token: str) -> bool:
    try:
        sessions.principal_of(token)
    except Unauthenticated as error:
        return str(error) == "the session has ended; log in again"
    return False


def test_a_token_stands_for_its_principal_until_it_is_ended() -> None:
    sessions = Sessions()
    anna, bert = sessions.begin(ANNA), sessions.begin(BERT)
    assert len(anna) == len(bert) == 43  # 43 characters of six bits: 256 bits
    assert (sessions.principal_of(anna), sessions.principal_of(bert)) == (ANNA, BERT)
    sessions.end(anna)
    sessions.end(anna)
    assert has_ended(sessions, anna)
    assert sessions.principal_of(bert) == BERT


@pytest.mark.parametrize("token", ["", "x", "é", "\ud800", "x" * 100_000])
def test_a_token_that_was_never_given_opens_nothing(token: str) -> None:
    sessions = Sessions()
    sessions.begin(ANNA)
    assert has_ended(sessions, token)


def test_the_token_itself_is_not_kept() -> None:
    sessions = Sessions()
    token = sessions.begin(ANNA)
    kept = repr(vars(sessions))
    assert "anna" in kept
    assert token not in kept


def test_an_idle_session_ends_and_a_used_one_does_not(clock: Clock) -> None:
    sessions = Sessions(clock=clock)
    used, idle = sessions.begin(ANNA), sessions.begin(ANNA)
    clock.now += HOUR_S - 1
    assert sessions.principal_of(used) == ANNA
    clock.now += 1
    assert has_ended(sessions, idle)
    assert not has_ended(sessions, used)


def test_a_look_that_is_no_use_keeps_no_session_alive(clock: Clock) -> None:
    sessions = Sessions(clock=clock)
    token = sessions.begin(ANNA)
    clock.now += HOUR_S - 1
    assert sessions.principal_of(token, is_use=False) == ANNA
    clock.now += 1
    assert has_ended(sessions, token)


def test_a_session_ends_after_twelve_hours_however_much_it_is_used(clock: Clock) -> None:
    sessions = Sessions(clock=clock)
    token = sessions.begin(ANNA)
    for _ in range(23):
        clock.now += HOUR_S / 2
        assert sessions.principal_of(token) == ANNA
    clock.now += HOUR_S / 2
    assert has_ended(sessions, token)


def test_one_session_more_than_allowed_ends_the_principals_own_oldest() -> None:
    sessions = Sessions(most_each=2)
    bert = sessions.begin(BERT)
    first, second, third = (sessions.begin(ANNA) for _ in range(3))
    assert [has_ended(sessions, token) for token in (bert, first, second, third)] == [
        False,
        True,
        False,
        False,
    ]


def test_keys_of_one_name_do_not_end_each_others_sessions() -> None:
    sessions = Sessions(most_each=1)
    one = sessions.begin(Principal("anna", "reader", credential="key 00000001"))
    other = sessions.begin(Principal("anna", "reader", credential="key 00000002"))
    assert not has_ended(sessions, one)
    assert not has_ended(sessions, other)


def test_sessions_in_all_are_bounded_and_those_that_are_over_go_first(clock: Clock) -> None:
    sessions = Sessions(most=2, clock=clock)
    first = sessions.begin(Principal("first", "reader"))
    clock.now += HOUR_S / 2
    second = sessions.begin(Principal("second", "reader"))
    clock.now += HOUR_S / 2
    third = sessions.begin(Principal("third", "reader"))
    assert [has_ended(sessions, token) for token in (first, second, third)] == [True, False, False]
    fourth = sessions.begin(Principal("fourth", "reader"))
    assert [has_ended(sessions, token) for token in (second, third, fourth)] == [True, False, False]
    assert sessions.count == 2


def test_a_session_ends_for_good_when_its_check_says_no() -> None:
    is_valid = True
    sessions = Sessions()
    token = sessions.begin(ANNA, lambda: is_valid)
    assert sessions.principal_of(token) == ANNA
    is_valid = False
    assert has_ended(sessions, token)
    is_valid = True
    assert has_ended(sessions, token)


def test_any_number_of_threads_may_begin_use_and_end() -> None:
    sessions = Sessions(most_each=1000)
    start = threading.Barrier(8)

    def use(number: int) -> int:
        principal = Principal(f"p{number}", "reader")
        start.wait()
        tokens = [sessions.begin(principal) for _ in range(50)]
        right = sum(sessions.principal_of(token) == principal for token in tokens)
        for token in tokens:
            sessions.end(token)
        return right

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(use, range(8))) == [50] * 8
    assert sessions.count == 0
