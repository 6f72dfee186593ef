"""Damage anywhere in a gallery's folder: a short run of what `make damage` does at length."""

from pathlib import Path

import pytest
from damage import Damages, Unnoticed

from medsiglip_search.index import files


def test_a_flipped_bit_or_a_cut_file_is_noticed_anywhere_and_gives_no_wrong_result(tmp_path: Path) -> None:
    report = Damages(tmp_path, seed=3).run(cases=60)
    assert report.cases.total() == 60
    assert len(report.cases) == 20
    assert report.searches["index/rows.f16", "right"] == report.cases["index/rows.f16"] > 0


def test_an_index_that_is_not_checked_gives_wrong_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damages = Damages(tmp_path, seed=3)

    monkeypatch.setattr(files, "chunk_digests", lambda file: Anything())
    with pytest.raises(Unnoticed, match="a wrong result"):
        damages.run(cases=2000)


class Anything(list):
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]
