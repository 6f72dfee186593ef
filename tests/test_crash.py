"""Kills at random instants: a short run of what `make crash` does at length."""

from pathlib import Path

import pytest
from crash import Crashes
from crash_log import Violation


def test_kills_lose_nothing_and_store_nothing_twice(tmp_path: Path) -> None:
    report = Crashes(tmp_path, seed=5).run(kills=12)
    assert report.count == 12
    assert report.within_commit


def test_a_commit_in_the_wrong_order_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(Violation, match="half a commit"):
        Crashes(tmp_path, seed=5, broken=True).run(kills=200)
