"""A small synthetic archive and its gallery, made once for all tests that only read them."""

from pathlib import Path

import pytest

from medsiglip_search.cli import main


@pytest.fixture(scope="session")
def demo_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "demo"
    with pytest.raises(SystemExit, match="0"):
        main(["demo", "--out", str(out), "--images", "90", "--seed", "7", "--archive-only"])
    return out / "archive"


@pytest.fixture(scope="session")
def demo_gallery(demo_archive: Path) -> Path:
    path = demo_archive.parent / "indexed"
    with pytest.raises(SystemExit, match="0"):
        main(["index", str(path), str(demo_archive), "--metadata", str(demo_archive / "metadata.csv")])
    return path
