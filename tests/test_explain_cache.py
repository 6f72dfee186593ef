"""Answers kept on disk."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from explaining import Scripted

from medsiglip_search.explain import cache
from medsiglip_search.explain.cache import CachedModel
from medsiglip_search.explain.chat import Prompt

PICTURE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def ask(model: CachedModel, *parts: str | np.ndarray, most_tokens: int = 512) -> tuple[str, str]:
    told: list[str] = []
    answer = model.generate(Prompt(parts, most_tokens), told.append, threading.Event())
    return answer.text, "".join(told)


def test_the_very_same_prompt_is_answered_once(tmp_path: Path):
    model = Scripted(["first", "second"])
    assert ask(CachedModel(model, tmp_path), PICTURE, "what?")[0] == "first"
    text, told = ask(CachedModel(model, tmp_path), PICTURE.copy(), "what?")
    assert (text, told) == ("first", "first")
    assert len(model.asked) == 1


def test_whatever_is_different_is_asked(tmp_path: Path):
    model = Scripted([str(number) for number in range(9)])
    other = PICTURE.copy()
    other[0, 0, 0] ^= 1
    for prompt in (
        (PICTURE, "what?"),
        (other, "what?"),
        (PICTURE, "what!"),
        (PICTURE.reshape(2, 8, 3), "what?"),
    ):
        ask(CachedModel(model, tmp_path), *prompt)
    ask(CachedModel(model, tmp_path), PICTURE, "what?", most_tokens=8)
    model.revision = "2"
    ask(CachedModel(model, tmp_path), PICTURE, "what?")
    assert len(model.asked) == 6


def test_texts_are_not_run_together(tmp_path: Path):
    model = Scripted(["one", "two"])
    assert ask(CachedModel(model, tmp_path), "ab", "c")[0] == "one"
    assert ask(CachedModel(model, tmp_path), "a", "bc")[0] == "two"


def test_an_answer_that_was_stopped_is_not_kept(tmp_path: Path):
    stop = threading.Event()
    stop.set()
    model = Scripted(["one", "two"])
    assert (
        CachedModel(model, tmp_path).generate(Prompt(("what?",)), lambda _: None, stop).ended == "cancelled"
    )
    assert list(tmp_path.iterdir()) == []


def test_answers_are_of_their_user_alone(tmp_path: Path):
    ask(CachedModel(Scripted(["one"]), tmp_path / "new"), "what?")
    [file] = (tmp_path / "new").iterdir()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_damaged_answer_or_folder_costs_nothing_but_time(tmp_path: Path):
    ask(CachedModel(Scripted(["one"]), tmp_path), "what?")
    [file] = tmp_path.iterdir()
    file.write_text("{")
    assert ask(CachedModel(Scripted(["again"]), tmp_path), "what?")[0] == "again"
    assert ask(CachedModel(Scripted(["third"]), file), "what?")[0] == "third"
    file.write_text(file.read_text().replace('"again"', "5"))
    assert ask(CachedModel(Scripted(["fourth"]), tmp_path), "what?")[0] == "fourth"


def test_a_folder_that_others_can_read_is_closed(tmp_path: Path):
    tmp_path.chmod(0o777)
    ask(CachedModel(Scripted(["one"]), tmp_path), "what?")
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_an_old_answer_is_asked_anew(tmp_path: Path):
    ask(CachedModel(Scripted(["one"]), tmp_path), "what?")
    [file] = tmp_path.iterdir()
    os.utime(file, (0, time.time() - 100))
    assert ask(CachedModel(Scripted(["new"]), tmp_path, most_age_s=1000), "what?")[0] == "one"
    assert ask(CachedModel(Scripted(["new"]), tmp_path, most_age_s=50), "what?")[0] == "new"


def test_when_there_are_too_many_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache, "MOST_ANSWERS", 10)
    for number in range(10):
        ask(CachedModel(Scripted(["one"]), tmp_path), str(number))
    oldest, *others = sorted(tmp_path.iterdir())
    os.utime(oldest, (0, time.time() - 100))
    ask(CachedModel(Scripted(["one"]), tmp_path), "one more")
    assert not oldest.exists()
    assert all(path.exists() for path in others)
