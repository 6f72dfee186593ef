"""API keys: shown once when they are made, and kept as hashes in a file that commands and services share."""

import fcntl
import hmac
import os
import re
import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from medsiglip_search.errors import InvalidQuery, NotFound, Unauthenticated, Unavailable
from medsiglip_search.files import write_file
from medsiglip_search.service.callers import Principal, Role

KEYS, LOCK = "keys.json", "keys.lock"
MOST_NAME_CHARACTERS = 100

_TEXT = re.compile(r"msk_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key.

    galleries: the names of those that it opens; None for all. digest: SHA-256 of its secret, in hex.
    expires: None for never. revoked: since when; None while it is not.
    """

    id: Annotated[str, Field(pattern="^[0-9a-f]{8}$")]
    name: str
    role: Role
    galleries: tuple[str, ...] | None
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    created: AwareDatetime
    expires: AwareDatetime | None
    revoked: AwareDatetime | None = None

    @property
    def principal(self) -> Principal:
        galleries = None if self.galleries is None else frozenset(self.galleries)
        return Principal(self.name, self.role, galleries, credential=f"key {self.id}")

    def has_expired(self, now: datetime) -> bool:
        """Tell whether its time is over."""
        return self.expires is not None and now >= self.expires

    def is_valid(self, now: datetime) -> bool:
        """Tell whether it opens anything."""
        return self.revoked is None and not self.has_expired(now)


@dataclass(frozen=True, slots=True)
class _File:
    keys: tuple[Key, ...]
    format_version: Literal[1] = 1


_FILE = TypeAdapter(_File)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KeyStore:
    """The keys in a folder. Changes of another process hold at once; for any number of threads."""

    def __init__(self, folder: Path, now: Callable[[], datetime] = _utc_now) -> None:
        self._folder = folder
        self._path = folder / KEYS
        self._now = now
        self._lock = threading.Lock()
        self._state: tuple[int, ...] | None = None
        self._keys: Mapping[str, Key] = {}

    def add(
        self, name: str, role: Role, galleries: Collection[str] | None, expires: datetime | None
    ) -> tuple[Key, str]:
        """Return a new key and its text, which nobody can tell again. galleries: None for all.

        Raises InvalidQuery for a name that is none, or that a valid key has: the service knows by the name
        whose jobs and links something is. Raises Unavailable, OSError.
        """
        if not name.strip() or len(name) > MOST_NAME_CHARACTERS or not name.isprintable():
            raise InvalidQuery(
                f"the key's name must be 1 to {MOST_NAME_CHARACTERS} printable characters; the audit shows it"
            )
        now = self._now()
        if expires is not None and expires <= now:
            raise InvalidQuery("the key would expire before it could be used; give it a later time")
        secret = secrets.token_urlsafe(32)
        with self._changing() as keys:
            for key in keys.values():
                if key.name == name and key.is_valid(now):
                    raise InvalidQuery(
                        f"key {key.id} has this name and is valid; choose another name, or revoke that one "
                        f"first: medsiglip-search keys revoke {key.id}"
                    )
            id_ = secrets.token_hex(4)
            while id_ in keys:
                id_ = secrets.token_hex(4)
            chosen = None if galleries is None else tuple(sorted(set(galleries)))
            key = keys[id_] = Key(id_, name, role, chosen, _digest(secret), now, expires)
        return key, f"msk_{id_}_{secret}"

    def revoke(self, id_: str) -> Key:
        """Return the key, revoked now or as it was before. Raises NotFound, Unavailable, OSError."""
        with self._changing() as keys:
            if id_ not in keys:
                raise NotFound("there is no key of this id; `medsiglip-search keys list` shows them all")
            if keys[id_].revoked is None:
                keys[id_] = replace(keys[id_], revoked=self._now())
            return keys[id_]

    def keys(self) -> list[Key]:
        """Return every key there ever was, the oldest first. Raises Unavailable."""
        return sorted(self._read().values(), key=lambda key: key.created)

    def principal_of(self, text: str) -> Principal:
        """Return whom a key's text stands for. Raises Unauthenticated, Unavailable."""
        parts = _TEXT.fullmatch(text)
        id_, secret = parts.groups() if parts else ("", "")
        key = self._read().get(id_)
        # Compared in constant time, and for an unknown key too: how long it takes tells nothing.
        is_right = hmac.compare_digest(_digest(secret), key.digest if key else "0" * 64)
        if key is None or not is_right or key.revoked is not None:
            raise Unauthenticated(
                "the key is unknown or not valid any more; ask an administrator for a new one"
            )
        if key.has_expired(self._now()):
            raise Unauthenticated("the key has expired; ask an administrator for a new one")
        return key.principal

    def is_valid(self, id_: str) -> bool:
        """Tell whether the key of this id opens anything now. Raises Unavailable."""
        key = self._read().get(id_)
        return key is not None and key.is_valid(self._now())

    def _read(self) -> Mapping[str, Key]:
        """Return the keys by their ids, as the file has them now."""
        with self._lock:
            try:
                if self._state is None or _state_of(os.stat(self._path)) != self._state:
                    with self._path.open("rb") as file:
                        state = _state_of(os.fstat(file.fileno()))
                        found = _FILE.validate_json(file.read())
                    self._keys = {key.id: key for key in found.keys}
                    self._state = state
            except FileNotFoundError:
                self._state, self._keys = None, {}
            except (ValidationError, OSError) as error:
                why = error.strerror if isinstance(error, OSError) else "damaged"
                raise Unavailable(
                    f"{KEYS} in the service's state folder cannot be read ({why}), and no key is valid; "
                    "restore it from a backup, or move it away and make keys by `medsiglip-search keys add`"
                ) from None
            return self._keys

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """Yield the keys by their ids, and keep what becomes of them unless that raises."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        descriptor = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            keys = dict(self._read())
            yield keys
            content = _FILE.dump_json(_File(tuple(keys.values())), indent=2) + b"\n"
            write_file(self._path, content, mode=0o600)
        finally:
            os.close(descriptor)


def _digest(secret: str) -> str:
    # 256 random bits need neither salt nor a slow hash: there is nothing to guess.
    return sha256(secret.encode()).hexdigest()


def _state_of(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
