"""Answers kept on disk, by all that they depend on: the model, and every word and pixel of the prompt."""

import hashlib
import json
import os
import threading
import time
from dataclasses import asdict
from pathlib import Path

from medsiglip_search.explain.chat import Abilities, Answer, ChatModel, Prompt, Tell
from medsiglip_search.windows import RenderSpec

MOST_ANSWERS = 20_000
DAY_S = 86_400.0
MOST_AGE_S = 30 * DAY_S


def default_folder() -> Path:
    """Return where answers are kept: of this user alone, for they tell of patients."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "medsiglip-search" / "answers"


class CachedModel:
    """A model whose answers to the very same prompt come from disk.

    A cache that cannot be read or written costs time and nothing else.
    """

    def __init__(self, model: ChatModel, folder: Path | None = None, most_age_s: float = MOST_AGE_S) -> None:
        """Keep the model's answers in a folder, the user's own by default, for so long."""
        self._model = model
        self._most_age_s = most_age_s
        self._folder = folder or default_folder()
        self.name, self.revision = model.name, model.revision
        self.abilities: Abilities = model.abilities
        self.rendering: RenderSpec = model.rendering

    def generate(self, prompt: Prompt, tell: Tell, stop: threading.Event) -> Answer:
        """Return the answer from disk or from the model; see `ChatModel`."""
        path = self._folder / f"{self._key(prompt)}.json"
        if (kept := _read(path, self._most_age_s)) is not None:
            tell(kept.text)
            return kept
        answer = self._model.generate(prompt, tell, stop)
        if answer.ended != "cancelled":
            _write(path, answer)
        return answer

    def _key(self, prompt: Prompt) -> str:
        digest = hashlib.sha256(repr((self.name, self.revision, prompt.most_tokens)).encode())
        for part in prompt.parts:
            what = ("text", len(part)) if isinstance(part, str) else ("picture", part.shape)
            digest.update(repr(what).encode())
            digest.update(part.encode() if isinstance(part, str) else part.tobytes())
        return digest.hexdigest()


def _read(path: Path, most_age_s: float) -> Answer | None:
    try:
        if time.time() - path.stat().st_mtime > most_age_s:
            path.unlink()
            return None
        kept = Answer(**json.loads(path.read_text("utf-8")))
        return kept if isinstance(kept.text, str) and isinstance(kept.tokens, int) else None
    except (OSError, ValueError, TypeError):
        return None


def _write(path: Path, answer: Answer) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        _make_room(path.parent)
        unfinished = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(answer), file)
        unfinished.replace(path)
    except OSError:
        return


def _make_room(folder: Path) -> None:
    """Drop the oldest tenth of the answers when there are too many."""
    names = os.listdir(folder)
    if len(names) < MOST_ANSWERS:
        return
    oldest = sorted((folder / name for name in names), key=lambda path: path.stat().st_mtime)
    for path in oldest[: MOST_ANSWERS // 10]:
        path.unlink(missing_ok=True)
