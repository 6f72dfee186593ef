"""API keys: shown once, kept as hashes, expiring, revoked; shared between processes."""

import json
import multiprocessing
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from medsiglip_search.errors import InvalidQuery, NotFound, Unauthenticated, Unavailable
from medsiglip_search.service.access.keys import KeyStore
from medsiglip_search.service.callers import Principal

MORNING = datetime(2030, 3, 1, 8, tzinfo=UTC)
UNKNOWN = "the key is unknown or not valid any more; ask an administrator for a new one"


class Clock:
    def __init__(self) -> None:
        self.now = MORNING

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> KeyStore:
    return KeyStore(tmp_path / "state", clock)


def refusal(store: KeyStore, text: str) -> str:
    with pytest.raises(Unauthenticated) as refused:
        store.principal_of(text)
    return str(refused.value)


def test_a_key_stands_for_its_principal(store: KeyStore) -> None:
    key, text = store.add("PACS export", "labeller", ["thorax", "head"], MORNING + timedelta(days=90))
    assert text.startswith(f"msk_{key.id}_")
    assert len(text) == len("msk_") + 8 + 1 + 43  # 43 characters of six bits: 256 bits
    assert store.principal_of(text) == Principal(
        "PACS export", "labeller", frozenset({"thorax", "head"}), f"key {key.id}"
    )


def test_a_key_without_galleries_opens_all(store: KeyStore) -> None:
    _, text = store.add("reader", "reader", None, None)
    assert store.principal_of(text).may_use("anything")
    _, text = store.add("nothing yet", "reader", [], None)
    assert not store.principal_of(text).may_use("anything")


def test_two_valid_keys_never_bear_one_name(store: KeyStore, clock: Clock) -> None:
    key, text = store.add("anna", "reader", None, MORNING + timedelta(days=1))
    with pytest.raises(InvalidQuery, match=f"choose another name, or revoke .* keys revoke {key.id}"):
        store.add("anna", "admin", None, None)
    [known] = store.keys()
    assert known.id == key.id
    assert store.principal_of(text).role == "reader"
    store.revoke(key.id)
    second, _ = store.add("anna", "reader", None, MORNING + timedelta(days=1))
    clock.now += timedelta(days=1)  # and what has expired is no one's any more
    third, _ = store.add("anna", "reader", None, None)
    assert len({key.id, second.id, third.id}) == 3


def test_the_file_holds_no_secret_and_is_its_owners_alone(store: KeyStore, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        _, text = store.add("reader", "reader", None, None)
    finally:
        os.umask(old)
    path = tmp_path / "state" / "keys.json"
    secret = text.split("_", 2)[2]
    assert secret not in path.read_text()
    assert json.loads(path.read_text())["keys"][0]["digest"] == sha256(secret.encode()).hexdigest()
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent)] == [0o600, 0o700]
    assert sorted(one.name for one in path.parent.iterdir()) == ["keys.json", "keys.lock"]


def test_a_folder_that_others_could_read_is_closed(store: KeyStore, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    store.add("reader", "reader", None, None)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_unknown_wrong_and_revoked_keys_get_the_very_same_answer(store: KeyStore) -> None:
    key, text = store.add("reader", "reader", None, None)
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    unknown = f"msk_{int(key.id, 16) ^ 1:08x}_{text.split('_', 2)[2]}"
    store.revoke(key.id)
    noise = ["", "msk_", "é" * 56, "\ud800", text.upper(), text + "\n", f" {text}", "x" * 100_000]
    assert {refusal(store, one) for one in [text, wrong, unknown, *noise]} == {UNKNOWN}


def test_a_key_ends_at_its_time_and_says_so_only_to_who_has_it(store: KeyStore, clock: Clock) -> None:
    _, text = store.add("reader", "reader", None, MORNING + timedelta(days=1))
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    clock.now = MORNING + timedelta(days=1) - timedelta(microseconds=1)
    assert store.principal_of(text).name == "reader"
    clock.now = MORNING + timedelta(days=1)
    assert refusal(store, text) == "the key has expired; ask an administrator for a new one"
    assert refusal(store, wrong) == UNKNOWN


def test_whether_a_key_is_valid_follows_its_end_and_its_revocation(store: KeyStore, clock: Clock) -> None:
    short, _ = store.add("short", "reader", None, MORNING + timedelta(days=1))
    long, _ = store.add("long", "reader", None, None)
    assert [store.is_valid(id_) for id_ in (short.id, long.id, "00000000")] == [True, True, False]
    clock.now += timedelta(days=2)
    assert [store.is_valid(id_) for id_ in (short.id, long.id)] == [False, True]
    store.revoke(long.id)
    assert not store.is_valid(long.id)


def test_revoking_twice_keeps_the_first_time_and_an_unknown_id_is_refused(
    store: KeyStore, clock: Clock
) -> None:
    key, _ = store.add("reader", "reader", None, None)
    assert store.revoke(key.id).revoked == MORNING
    clock.now += timedelta(days=1)
    assert store.revoke(key.id).revoked == MORNING
    with pytest.raises(NotFound, match="keys list"):
        store.revoke("00000000")


def test_keys_are_listed_in_their_order_with_those_that_ended(store: KeyStore, clock: Clock) -> None:
    assert store.keys() == []
    first, _ = store.add("first", "reader", None, MORNING + timedelta(hours=1))
    clock.now += timedelta(days=1)
    second, _ = store.add("second", "admin", ["head"], None)
    second = store.revoke(second.id)
    assert store.keys() == [first, second]


def test_what_another_process_changes_holds_at_once(store: KeyStore, tmp_path: Path, clock: Clock) -> None:
    other = KeyStore(tmp_path / "state", clock)
    first, first_text = other.add("first", "reader", None, None)
    assert store.principal_of(first_text).name == "first"
    _, second_text = other.add("second", "reader", None, None)
    assert store.principal_of(second_text).name == "second"
    other.revoke(first.id)
    assert refusal(store, first_text) == UNKNOWN
    (tmp_path / "state" / "keys.json").unlink()
    assert refusal(store, second_text) == UNKNOWN


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"format_version": 2, "keys": []}',
        b'{"format_version": 1, "keys": [{"id": "0"}]}',
    ],
)
def test_with_a_damaged_file_nobody_gets_in_until_it_is_restored(
    store: KeyStore, tmp_path: Path, damage: bytes
) -> None:
    _, text = store.add("reader", "reader", None, None)
    path = tmp_path / "state" / "keys.json"
    sound = path.read_bytes()
    path.write_bytes(damage)
    # Asked twice: what was read before must not come back.
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"keys\.json .* restore it from a backup") as failure:
            store.principal_of(text)
        assert str(tmp_path) not in str(failure.value)
    with pytest.raises(Unavailable):
        store.add("another", "reader", None, None)
    assert path.read_bytes() == damage
    path.write_bytes(sound)
    assert store.principal_of(text).name == "reader"


def test_a_role_that_does_not_exist_is_damage(store: KeyStore, tmp_path: Path) -> None:
    _, text = store.add("reader", "reader", None, None)
    path = tmp_path / "state" / "keys.json"
    path.write_text(path.read_text().replace('"role": "reader"', '"role": "root"'))
    with pytest.raises(Unavailable):
        store.principal_of(text)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\x1b[2J", "x" * 101])
def test_a_name_that_would_garble_the_audit_is_refused(store: KeyStore, name: str) -> None:
    with pytest.raises(InvalidQuery, match="1 to 100 printable characters"):
        store.add(name, "reader", None, None)
    assert store.keys() == []


def test_a_key_that_would_never_be_valid_is_refused(store: KeyStore) -> None:
    with pytest.raises(InvalidQuery, match="would expire before"):
        store.add("late", "reader", None, MORNING)


def _add_some(folder: Path, name: str) -> None:
    for number in range(5):
        KeyStore(folder).add(f"{name}-{number}", "reader", None, None)


def test_processes_that_add_at_once_lose_none(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    adding = [context.Process(target=_add_some, args=(tmp_path / "state", f"p{n}")) for n in range(2)]
    for process in adding:
        process.start()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: _add_some(tmp_path / "state", f"t{n}"), range(4)))
    for process in adding:
        process.join()
    assert [process.exitcode for process in adding] == [0, 0]
    added = KeyStore(tmp_path / "state").keys()
    names = ("p0", "p1", "t0", "t1", "t2", "t3")
    assert sorted(key.name for key in added) == [f"{name}-{number}" for name in names for number in range(5)]
