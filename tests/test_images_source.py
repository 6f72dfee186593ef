"""Reading of files that ask for more than they hold."""

from pathlib import Path

from medsiglip_search.images.source import open_source


def test_a_length_beyond_the_end_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(256)) * 100)
    with open_source(tmp_path / "a") as file:
        file.seek(10)
        # No machine has so much; a plain file raises MemoryError or OverflowError.
        assert file.read(1 << 60) == (bytes(range(256)) * 100)[10:]
        assert file.read(1 << 60) == b""
        assert file.seek(25_590) == 25_590
        assert file.read(20_000) == bytes(range(246, 256))
        file.seek(0)
        assert len(file.read()) == 25_600
