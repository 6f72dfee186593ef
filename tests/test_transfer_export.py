import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from galleries import gallery_of, instance, unit
from transfers import EAST, FORMATS, NORTH

from medsiglip_search.errors import GalleryError, InvalidQuery, UnusableFile
from medsiglip_search.transfer.exporting import Export, export
from medsiglip_search.transfer.origin import KEY, Origin, origin_of_json


@pytest.fixture
def gallery(tmp_path):
    return gallery_of(
        tmp_path / "g",
        [EAST, NORTH, (0.6, 0.8)],
        [
            instance(
                "b/1.dcm", modality="CR", year=2020, flags=("a", "b"), sidecar={"age": 63, "note": "clear"}
            ),
            instance("b/2.dcm", frame=1, position_mm=-1.5, sidecar={"age": 0.5}),
            instance("胸.png", modality="CT", sidecar={"note": "Mass, 3 cm;\nleft"}),
        ],
    )


def test_parquet_holds_every_column_in_the_gallery_s_types(tmp_path, gallery):
    written = export(gallery, tmp_path / "e.parquet")
    table = pq.read_table(tmp_path / "e.parquet")
    assert written == Export(3, (tmp_path / "e.parquet").stat().st_size)
    assert set(table.column_names) == set(gallery.stored_columns()) - {"thumbnail"}
    assert table.schema.field("embedding").type == pa.list_(pa.float16(), 2)
    embeddings = np.array(table["embedding"].to_pylist())
    assert np.array_equal(embeddings, unit([EAST, NORTH, (0.6, 0.8)]).astype(np.float16))
    columns = table.select(
        ["image_id", "uri", "frame", "modality", "year", "position_mm", "flags", "age", "note"]
    )
    assert columns.to_pylist() == [
        dict(zip(columns.column_names, row, strict=True))
        for row in (
            (1, "b/1.dcm", 0, "CR", 2020, None, ["a", "b"], 63, "clear"),
            (2, "b/2.dcm", 1, None, None, -1.5, [], 0.5, None),
            (3, "胸.png", 0, "CT", None, None, [], None, "Mass, 3 cm;\nleft"),
        )
    ]


def test_pandas_reads_the_parquet(tmp_path, gallery):
    export(gallery, tmp_path / "e.parquet")
    frame = pd.read_parquet(tmp_path / "e.parquet")
    assert frame["uri"].tolist() == ["b/1.dcm", "b/2.dcm", "胸.png"]
    assert np.stack(frame["embedding"])[1].tolist() == [0, 1]


def test_npz_is_read_without_pickle(tmp_path, gallery):
    export(gallery, tmp_path / "e.npz")
    arrays = np.load(tmp_path / "e.npz", allow_pickle=False)
    assert set(arrays.files) == {*gallery.stored_columns(), f"_{KEY}"} - {"thumbnail"}
    assert arrays["embedding"].dtype == np.float16
    assert np.array_equal(arrays["embedding"], unit([EAST, NORTH, (0.6, 0.8)]).astype(np.float16))
    assert arrays["uri"].tolist() == ["b/1.dcm", "b/2.dcm", "胸.png"]
    assert arrays["modality"].tolist() == ["CR", "", "CT"]
    assert arrays["note"].tolist() == ["clear", "", "Mass, 3 cm;\nleft"]
    assert arrays["flags"].tolist() == ["a;b", "", ""]
    assert arrays["image_id"].tolist() == [1, 2, 3]
    assert np.array_equal(arrays["year"], [2020, np.nan, np.nan], equal_nan=True)
    assert np.array_equal(arrays["age"], [63, 0.5, np.nan], equal_nan=True)


def test_the_longest_text_is_whole_wherever_it_stands(tmp_path):
    instances = [
        instance(f"{number}", sidecar={"note": "x" * (9 if number == 7 else 3)}) for number in range(5000)
    ]
    export(gallery_of(tmp_path / "g", [EAST] * 5000, instances), tmp_path / "e.npz")
    notes = np.load(tmp_path / "e.npz")["note"]
    assert (notes[7], notes[8], notes[4999], len(notes)) == ("x" * 9, "xxx", "xxx", 5000)


def test_both_say_where_the_embeddings_came_from(tmp_path, gallery):
    for name in FORMATS:
        export(gallery, tmp_path / f"e.{name}")
    in_parquet = pq.read_schema(tmp_path / "e.parquet").metadata[KEY.encode()]
    in_npz = str(np.load(tmp_path / "e.npz")[f"_{KEY}"]).encode()
    assert origin_of_json(tmp_path, in_parquet) == origin_of_json(tmp_path, in_npz) == Origin.of(gallery)
    assert Origin.of(gallery).meta == gallery.meta
    assert gallery.secret_key.hex() not in in_npz.decode()


@pytest.mark.parametrize("name", FORMATS)
def test_a_filter_and_columns_choose_what_is_written(tmp_path, gallery, name):
    path, told = tmp_path / f"e.{name}", []
    chosen = {"where": "\"note\" = 'clear' OR modality = 'CT'", "columns": ["uri", "note"]}
    assert export(gallery, path, **chosen, progress=lambda *now: told.append(now)).rows == 2
    assert told == [(2, 2, "exported")]
    if name == "npz":
        read = np.load(path)
        assert set(read.files) == {"uri", "note", "embedding", f"_{KEY}"}
        assert read["embedding"].shape == (2, 2)
    else:
        read = pq.read_table(path)
        assert set(read.column_names) == {"uri", "note", "embedding"}
    assert list(map(str, read["uri"])) == ["b/1.dcm", "胸.png"]


def test_a_column_without_text_is_enough(tmp_path, gallery):
    export(gallery, tmp_path / "e.npz", columns=["image_id"])
    assert np.load(tmp_path / "e.npz")["image_id"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_that_fits_is_a_file_without_rows(tmp_path, gallery, name):
    assert export(gallery, tmp_path / f"e.{name}", where="year > 2100").rows == 0
    read = np.load(tmp_path / "e.npz") if name == "npz" else pq.read_table(tmp_path / "e.parquet")
    assert len(read["uri"]) == len(read["embedding"]) == 0


def test_thumbnails_go_into_parquet_when_asked_for(tmp_path, gallery):
    export(gallery, tmp_path / "e.parquet", thumbnails=True)
    thumbnails = pq.read_table(tmp_path / "e.parquet")["thumbnail"].to_pylist()
    assert thumbnails == [f"jpeg of {name}".encode() for name in ("b/1.dcm", "b/2.dcm", "胸.png")]
    with pytest.raises(UnusableFile, match=r"no thumbnails. Export to \*.parquet"):
        export(gallery, tmp_path / "e.npz", thumbnails=True)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_is_replaced_only_when_asked_for(tmp_path, gallery, name):
    path = tmp_path / f"e.{name}"
    path.write_text("mine")
    with pytest.raises(UnusableFile, match="there is a file already"):
        export(gallery, path)
    assert path.read_text() == "mine"
    export(gallery, path, overwrite=True)
    assert path.stat().st_size > 100
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, "g"]


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_that_fails_leaves_nothing_behind(tmp_path, gallery, name):
    path = tmp_path / f"e.{name}"
    path.write_text("mine")

    def full(*now):
        raise OSError(28, "No space left on device")

    with pytest.raises(GalleryError, match="cannot be written: No space left on device"):
        export(gallery, path, overwrite=True, progress=full)
    with pytest.raises(InvalidQuery, match="no column modalty"):
        export(gallery, path, overwrite=True, where="modalty = 'CR'")
    assert path.read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, "g"]


def test_places_that_cannot_be_written_are_named(tmp_path, gallery):
    (tmp_path / "folder.npz").mkdir()
    for name, problem in (("e.csv", "unknown kind of file"), ("folder.npz", "a folder")):
        with pytest.raises(UnusableFile, match=problem):
            export(gallery, tmp_path / name)
    with pytest.raises(GalleryError, match="No such file or directory"):
        export(gallery, tmp_path / "missing" / "e.npz")
    with pytest.raises(InvalidQuery, match="no column 'thumbnail'"):
        export(gallery, tmp_path / "e.npz", columns=["uri", "thumbnail"])
