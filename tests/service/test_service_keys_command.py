"""The command keys: a key on stdout once, and every change in the audit."""

import os
import pwd
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from command_line import Outcome, one_error

from medsiglip_search.cli import main
from medsiglip_search.errors import Unauthenticated
from medsiglip_search.service.access.keys import KeyStore
from medsiglip_search.service.audit import records, verify
from medsiglip_search.service.callers import Principal

Keys = Callable[..., Outcome]


@pytest.fixture
def keys(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """Run `keys` with a state folder of its own."""
    monkeypatch.setenv("MEDSIGLIP_STATE", str(tmp_path / "state"))

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(["keys", *arguments])
        captured = capsys.readouterr()
        assert isinstance(exit_.value.code, int)
        return Outcome(exit_.value.code, captured.out.splitlines(), captured.err.splitlines())

    return run


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "state")


def test_add_prints_the_key_alone_and_says_that_it_is_shown_once(keys: Keys, store: KeyStore) -> None:
    added = keys("add", "PACS export", "--role", "labeller", "--gallery", "head", "--gallery", "thorax")
    assert added.code == 0
    (text,) = added.out
    (key,) = store.keys()
    assert store.principal_of(text) == Principal(
        "PACS export", "labeller", frozenset({"head", "thorax"}), f"key {key.id}"
    )
    (said,) = added.err
    assert said.startswith(f"Key {key.id} expires on {key.expires:%Y-%m-%d}. It is shown this once")
    assert text not in said


def test_a_key_lasts_ninety_days_or_as_long_as_is_said(keys: Keys, store: KeyStore) -> None:
    keys("add", "usual", "--role", "reader")
    keys("add", "short", "--role", "reader", "--days", "1")
    forever = keys("add", "forever", "--role", "admin", "--never-expires")
    made = store.keys()
    lasting = [None if key.expires is None else key.expires - key.created for key in made]
    assert lasting[2] is None
    assert [round(one / timedelta(days=1), 3) for one in lasting if one is not None] == [90, 1]
    assert "never expires" in forever.err[0]


def test_list_shows_states_and_no_secret(keys: Keys, store: KeyStore) -> None:
    assert keys("list").out == ["no keys yet"]
    assert keys("list", "--json").out == []
    texts = [
        keys("add", "anna", "--role", "reader", "--gallery", "head").out[0],
        keys("add", "bert", "--role", "admin", "--never-expires").out[0],
    ]
    anna, bert = store.keys()
    keys("revoke", bert.id)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    header, *rows = (line.split() for line in keys("list").out)
    assert header == ["id", "name", "role", "galleries", "created", "expires", "state"]
    assert rows == [
        [anna.id, "anna", "reader", "head", today, f"{anna.expires:%Y-%m-%d}", "valid"],
        [bert.id, "bert", "admin", "all", today, "never", "revoked"],
    ]
    first, second = keys("list", "--json").json
    assert (first["galleries"], first["state"], first["revoked"]) == (["head"], "valid", None)
    assert (second["galleries"], second["state"], second["expires"]) == (None, "revoked", None)
    shown = "\n".join([*keys("list").out, *keys("list", "--json").out])
    for text, key in zip(texts, (anna, bert), strict=True):
        assert text.split("_", 2)[2] not in shown
        assert key.digest not in shown


def test_an_expired_key_is_listed_as_such(keys: Keys, tmp_path: Path) -> None:
    past = KeyStore(tmp_path / "state", lambda: datetime(2020, 1, 1, tzinfo=UTC))
    past.add("old", "reader", None, datetime(2020, 2, 1, tzinfo=UTC))
    assert keys("list", "--json").json[0]["state"] == "expired"


def test_a_revoked_key_opens_nothing(keys: Keys, store: KeyStore) -> None:
    (text,) = keys("add", "anna", "--role", "reader").out
    (key,) = store.keys()
    revoked = keys("revoke", key.id)
    assert (revoked.code, revoked.out, revoked.err) == (0, [], [f"Key {key.id} is revoked."])
    with pytest.raises(Unauthenticated):
        store.principal_of(text)
    unknown = keys("revoke", "00000000")
    assert unknown.code == 1
    assert "no key of this id" in one_error(unknown)


def test_the_audit_tells_who_added_and_revoked_which_key(
    keys: Keys, store: KeyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "somebody else")
    keys("add", "anna", "--role", "reader")
    (key,) = store.keys()
    keys("revoke", key.id)
    added, revoked = records(tmp_path / "state")
    assert [added.action, revoked.action] == ["key_added", "key_revoked"]
    for record in (added, revoked):
        assert record.who == pwd.getpwuid(os.getuid()).pw_name
        assert (record.credential, record.role, record.subjects) == ("command line", "admin", (key.id,))
        assert record.details["name"] == "anna"
        assert record.details["role"] == "reader"
    assert verify(tmp_path / "state").problems == ()


def test_without_an_audit_no_key_is_given_and_one_can_still_be_revoked(
    keys: Keys, store: KeyStore, tmp_path: Path
) -> None:
    (text,) = keys("add", "anna", "--role", "reader").out
    (key,) = store.keys()
    (tmp_path / "state" / "audit.head").unlink()
    refused = keys("add", "bert", "--role", "admin")
    assert refused.code == 1
    assert "audit" in one_error(refused)
    assert store.keys() == [key]
    assert keys("revoke", key.id).code == 1
    with pytest.raises(Unauthenticated):
        store.principal_of(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "anna"),
        ("add", "anna", "--role", "root"),
        ("add", "anna", "--role", "reader", "--days", "0"),
        ("add", "anna", "--role", "reader", "--days", "30", "--never-expires"),
        ("add", "", "--role", "reader"),
        ("revoke",),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_refused_as_usage(
    keys: Keys, store: KeyStore, arguments: tuple[str, ...]
) -> None:
    refused = keys(*arguments)
    assert refused.code == 2
    assert one_error(refused)
    assert store.keys() == []


def test_damaged_keys_are_said_to_be(keys: Keys, tmp_path: Path) -> None:
    keys("add", "anna", "--role", "reader")
    (tmp_path / "state" / "keys.json").write_text("damage")
    for arguments in (("list",), ("add", "bert", "--role", "reader"), ("revoke", "00000000")):
        refused = keys(*arguments)
        assert refused.code == 1
        assert "restore it from a backup" in one_error(refused)
