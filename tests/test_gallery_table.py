"""What a table makes of a disk that fails it; Lance alone would not notice all of that."""

import errno
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from medsiglip_search.errors import GalleryDamaged, GalleryError
from medsiglip_search.gallery_table import ADDRESS, Table
from medsiglip_search.table_files import reading, writing


def rows(count, first=0):
    numbers = range(first, first + count)
    return pa.table(
        {
            "archive": pa.array(["a"] * count, pa.string()),
            "uri": pa.array(map(str, numbers), pa.string()),
            "size": pa.array(numbers, pa.int64()),
            "mtime_ns": pa.array(numbers, pa.int64()),
        }
    )


@pytest.fixture
def table(tmp_path):
    Table.create(tmp_path / "t", rows(0).schema)
    return Table.open(tmp_path / "t").with_rows(rows(20_000), []).with_rows(rows(10, 20_000), [])


def without(table, condition):
    return table.without(table.read([ADDRESS], condition)[ADDRESS].to_numpy())


def sizes(table):
    return table.read(["size"])["size"].to_pylist()


CHANGES = {
    "add": lambda table: table.with_rows(rows(5, 30_000), []),
    "replace": lambda table: table.with_rows(rows(1), [("a", "0")]),
    "take out a few": lambda table: without(table, "size < 5"),
    "take out many": lambda table: without(table, "size % 2 = 0"),
    "touch": lambda table: table.with_states({("a", "7"): (1, 1)}),
    "compact": lambda table: table.compacted(1 << 20, list),
    "join": lambda table: table.joined(1 << 20, list),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("left", [0, 0.5, 0.99])
def test_a_file_that_was_cut_without_a_word_is_not_committed(table, monkeypatch, change, left):
    before, version = sizes(table), table.version
    known = set(table.path.rglob("*"))
    require_whole = Table._require_whole

    def cut_and_require_whole(table, parts):
        for path in set(table.path.rglob("*")) - known:
            if path.parent.name in ("data", "_deletions"):
                path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])
        require_whole(table, list(parts))

    monkeypatch.setattr(Table, "_require_whole", cut_and_require_whole)
    with pytest.raises(GalleryError, match=r"cannot be written: Input/output error\. What"):
        CHANGES[change](table)
    monkeypatch.undo()
    opened = Table.open(table.path)
    assert (sizes(opened), opened.version) == (before, version)
    again = CHANGES[change](opened)
    assert sizes(again) == sizes(Table.open(table.path))
    assert again.version > version


def test_both_kinds_of_deletion_files_are_read_back(table):
    few, many = without(table, "size < 5"), without(Table.open(table.path), "size % 2 = 0")
    assert {path.suffix for path in (table.path / "_deletions").iterdir()} == {".arrow", ".bin"}
    assert len(few) == 20_005
    assert sizes(many) == [size for size in range(20_010) if size % 2 and size >= 5]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        OSError("LanceError(IO): Unable to read: Input/output error (os error 5), location: io.rs:1"),
        ValueError('Encountered: Os { code: 5, kind: Uncategorized, message: "Input/output error" }'),
    ],
)
def test_an_error_of_the_disk_is_no_damage(error):
    with pytest.raises(GalleryError, match=r"t: cannot be read: Input/output error\.") as told:  # noqa: SIM117
        with reading(Path("t")):
            raise error
    assert not isinstance(told.value, GalleryDamaged)
    with pytest.raises(GalleryError, match=r"t: cannot be written: Input/output error\."), writing(Path("t")):
        raise error


@pytest.mark.parametrize(
    "error", [OSError("Object at location x not found (os error 2)"), ValueError("the file is too small")]
)
def test_a_file_that_is_missing_or_makes_no_sense_is_damage(error):
    with pytest.raises(GalleryDamaged, match=r"t: cannot be read: .*Restore"), reading(Path("t")):
        raise error


def test_compacting_keeps_the_order_whatever_was_taken_out_or_touched(table):
    table = without(table, "size % 3 = 0").with_states({("a", "7"): (-7, 1), ("a", "20002"): (-2, 1)})
    expected = [{7: -7, 20_002: -2}.get(size, size) for size in range(20_010) if size % 3]
    assert sizes(table) == expected
    for one in (table.joined(1 << 20, list), table.compacted(1 << 20, list)):
        assert sizes(one) == expected
        assert one.take(np.array([13_339, 4, 0]), ["size"])["size"].to_pylist() == [20_009, -7, 1]
        table = one
