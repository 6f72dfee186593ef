import io
import logging
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from galleries import ARCHIVE, SPEC, gallery_of, instance, meta, rejected, unit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transfers import EAST, FORMATS, NORTH, contents, origin, save, uris

from medsiglip_search.encoders import load_encoder
from medsiglip_search.errors import GalleryMismatch, MedSiglipSearchError, UnusableFile
from medsiglip_search.gallery import Gallery
from medsiglip_search.identifiers import Pseudonymizer
from medsiglip_search.records import Attributes
from medsiglip_search.transfer.exporting import export
from medsiglip_search.transfer.importing import Import, import_embeddings
from medsiglip_search.transfer.origin import KEY

JPEG = b"\xff\xd8\xff rest of a thumbnail"


# Round trip

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
optional_text = st.none() | text
attributes = st.builds(
    Attributes,
    modality=optional_text,
    laterality=optional_text,
    year=st.none() | st.integers(-(2**31), 2**31 - 1),
    position_mm=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    patient=st.none() | st.just("00ff00ff00ff00ff"),
)
rows = st.lists(
    st.tuples(
        text,
        st.integers(0, 2**31 - 1),
        attributes,
        st.lists(st.sampled_from(["window_fallback", "burned_in_suspected"]), unique=True),
        optional_text,
        st.none() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9),
        st.integers(0, 2**31),
    ),
    max_size=6,
    unique_by=lambda row: row[:2],
)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows)
def test_what_was_exported_is_imported_as_it_was(tmp_path_factory, name, rows):
    folder = tmp_path_factory.mktemp("round")
    instances = [
        replace(
            instance(uri, frame, flags=tuple(flags), sidecar={"report": report, "age": age}),
            attributes=attributes,
        )
        for uri, frame, attributes, flags, report, age, _ in rows
    ]
    directions = [unit(np.random.default_rng(row[-1]).standard_normal((1, 5)))[0] for row in rows]
    gallery = gallery_of(folder / "g", np.reshape(directions, (-1, 5)), instances) if rows else None
    gallery = gallery or Gallery.create(folder / "g", meta(5))
    export(gallery, folder / f"e.{name}")
    imported = import_embeddings(folder / "new", folder / f"e.{name}")
    assert imported == Import(len(rows), len({row[0] for row in rows}))
    assert contents(folder / "new") == contents(gallery)
    assert Gallery.open(folder / "new").meta == gallery.meta


def test_thumbnails_travel_too(tmp_path):
    gallery = Gallery.create(tmp_path / "g", meta())
    with gallery.writer() as writer:
        writer.commit([instance("a"), instance("b")], [JPEG, b""], unit([EAST, NORTH]), [])
    export(gallery, tmp_path / "e.parquet", thumbnails=True)
    import_embeddings(tmp_path / "new", tmp_path / "e.parquet")
    assert Gallery.open(tmp_path / "new").thumbnails([1, 2]) == [JPEG, b""]


# What a file may leave out, and how it may write the rest


@pytest.mark.parametrize("name", FORMATS)
def test_uri_and_embedding_are_enough(tmp_path, name):
    path = save(tmp_path / f"e.{name}", [EAST, (0.6, 0.8)], origin(), uri=["a.png", "b.png"])
    told = []
    assert import_embeddings(tmp_path / "g", path, progress=lambda *now: told.append(now)) == Import(2, 2)
    assert told == [(2, 2, "checked"), (2, 2, "stored")]
    gallery = Gallery.open(tmp_path / "g")
    assert gallery.embeddings()[1].tolist() == np.array([EAST, (0.6, 0.8)], np.float16).tolist()
    first = gallery.instances([1])[0]
    assert first == replace(
        instance("a.png", archive=str(path)),
        image_id=1,
        source_digest="",
        pixel_digest="",
        size=0,
        mtime_ns=0,
        rows=0,
        columns=0,
    )
    assert gallery.thumbnails([1, 2]) == [b"", b""]


def test_an_archive_is_that_of_the_column_else_the_one_named(tmp_path):
    path = save(tmp_path / "e.parquet", [EAST, NORTH], origin(), uri=["a", "a"], archive=["/other", None])
    import_embeddings(tmp_path / "g", path, archive=ARCHIVE)
    assert [one.archive for one, _ in contents(tmp_path / "g")] == [ARCHIVE, "/other"]


@pytest.mark.parametrize(
    "embedding",
    [
        pa.array([EAST, NORTH], pa.list_(pa.float64())),
        pa.array([EAST, NORTH], pa.large_list(pa.float32())),
        pa.array([EAST, NORTH], pa.list_(pa.float16(), 2)),
        pa.array([[7.0], EAST, NORTH], pa.list_(pa.float32()))[1:],
    ],
    ids=lambda array: str(array.type),
)
def test_lists_of_every_float_are_embeddings(tmp_path, embedding):
    path = save(tmp_path / "e.parquet", embedding, origin(), uri=["a", "b"])
    import_embeddings(tmp_path / "g", path)
    assert Gallery.open(tmp_path / "g").embeddings()[1].tolist() == [[1, 0], [0, 1]]


def test_columns_as_other_programs_write_them(tmp_path):
    columns = {
        "uri": pa.array(["a", "b"], pa.large_string()),
        "frame": pa.array([None, 2], pa.int64()),
        "year": [2020.0, float("nan")],
        "modality": pa.array(["CT", "CT"]).dictionary_encode(),
        "flags": ["x;y", ""],
        "laterality": pa.nulls(2),
        "age": pa.array([63, None], pa.int16()),
        "is_new": [True, False],
        "taken": pa.array([0, 1], pa.date32()),
        "Finding Labels": pa.array(["Mass", "None"], pa.string_view()),
        "image_id": [7, 7],
    }
    import_embeddings(tmp_path / "g", save(tmp_path / "e.parquet", [EAST, NORTH], origin(), **columns))
    (first, _), (second, _) = contents(tmp_path / "g")
    assert (first.frame, second.frame) == (0, 2)
    assert first.attributes == Attributes(modality="CT", year=2020)
    assert second.attributes == Attributes(modality="CT")
    assert (first.flags, second.flags) == (("x", "y"), ())
    assert dict(first.sidecar) == {"age": 63, "is_new": 1, "taken": "1970-01-01", "Finding Labels": "Mass"}
    assert dict(second.sidecar) == {"age": None, "is_new": 0, "taken": "1970-01-02", "Finding Labels": "None"}
    assert Gallery.open(tmp_path / "g").select("age > 60 AND \"Finding Labels\" = 'Mass'").tolist() == [1]


def test_a_frame_that_pandas_has_changed_comes_back(tmp_path):
    gallery = gallery_of(tmp_path / "g", [EAST, NORTH], [instance("a", year=2020), instance("b")])
    export(gallery, tmp_path / "e.parquet")
    frame = pd.read_parquet(tmp_path / "e.parquet")
    frame["cluster"] = ["x", "y"]
    frame.to_parquet(tmp_path / "changed.parquet")
    table = pq.read_table(tmp_path / "changed.parquet")
    said = pq.read_schema(tmp_path / "e.parquet").metadata
    pq.write_table(table.replace_schema_metadata(said), tmp_path / "changed.parquet")
    import_embeddings(tmp_path / "g", tmp_path / "changed.parquet")
    assert [(one.uri, one.attributes.year, one.sidecar) for one, _ in contents(tmp_path / "g")] == [
        ("a", 2020, {"cluster": "x"}),
        ("b", None, {"cluster": "y"}),
    ]


# Whole files


def test_rows_of_one_file_may_be_scattered(tmp_path):
    directions = unit(np.random.default_rng(0).standard_normal((9000, 2)))
    names = [f"{number % 3000}.dcm" for number in range(9000)]
    frames = [number // 3000 for number in range(9000)]
    path = save(tmp_path / "e.npz", directions, origin(), uri=names, frame=frames)
    assert import_embeddings(tmp_path / "g", path) == Import(9000, 3000)
    gallery = Gallery.open(tmp_path / "g")
    ids, embeddings = gallery.embeddings("uri = '17.dcm'")
    assert [one.frame for one in gallery.instances(ids)] == [0, 1, 2]
    assert np.array_equal(embeddings, directions[[17, 3017, 6017]].astype(np.float16))
    assert len(gallery) == 9000


def test_rows_of_the_same_files_are_replaced(tmp_path):
    gallery = gallery_of(tmp_path / "g", [EAST] * 3, [instance("a", 0), instance("a", 1), instance("b")])
    with gallery.writer() as writer:
        writer.commit([], [], np.empty((0, 2)), [rejected("c")])
    path = save(tmp_path / "e.npz", [NORTH, NORTH], origin(), uri=["a", "c"])
    for _ in range(2):
        import_embeddings(tmp_path / "g", path, archive=ARCHIVE)
        gallery.refresh()
        assert uris(gallery) == ["a", "b", "c"]
        assert [np.frombuffer(row, np.float16).tolist() for _, row in contents(gallery)] == [
            [0, 1],
            [1, 0],
            [0, 1],
        ]
        assert gallery.rejected() == []


def test_an_import_that_was_killed_is_made_good_by_another(tmp_path):
    directions = unit(np.random.default_rng(0).standard_normal((12_000, 2)))
    names = [f"{number}" for number in range(12_000)]
    path = save(tmp_path / "e.npz", directions, origin(), uri=names)
    program = (
        "import os, sys; from medsiglip_search.transfer.importing import import_embeddings\n"
        "import_embeddings(*sys.argv[1:], progress=lambda done, total, word: "
        "word == 'stored' and os.kill(os.getpid(), 9))"
    )
    killed = subprocess.run([sys.executable, "-c", program, tmp_path / "g", path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert 0 < len(Gallery.open(tmp_path / "g")) < 12_000
    import_embeddings(tmp_path / "g", path)
    import_embeddings(tmp_path / "whole", path)
    assert contents(tmp_path / "g") == contents(tmp_path / "whole")
    assert len(Gallery.open(tmp_path / "g")) == 12_000


# What is refused, and that nothing of it is stored


def refused(tmp_path: Path, path: Path, error: type[Exception] = UnusableFile, **options: object) -> str:
    gallery = tmp_path / "refused"
    with pytest.raises(error) as raised:
        import_embeddings(gallery, path, **options)
    assert not gallery.exists()
    assert "\n" not in str(raised.value)
    return str(raised.value)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ({"rows": (NAN, 1.0)}, "the embedding is not finite"),
        ({"rows": (INF, 0.0)}, "the embedding is not finite"),
        ({"rows": (0.0, 0.0)}, "the embedding is all zeros"),
        ({"rows": (0.8, 0.8)}, "the embedding has not norm 1. Pass --normalize"),
        ({"rows": (1e30, 0.0)}, "the embedding has not norm 1"),
        ({"uri": ""}, "no uri"),
        ({"uri": "0", "frame": 0}, "the same frame of the same file as row 0"),
        ({"frame": -1}, "frame below 0"),
        ({"frame": 0.5}, "frame is no int32 that a gallery can hold"),
        ({"year": 2**40}, "year is no int32 that a gallery can hold"),
        ({"big": 2**53 + 1}, "big is no double that a gallery can hold"),
    ],
)
def test_a_bad_row_is_named_and_nothing_stored(tmp_path, name, bad, problem):
    # Far from the beginning: in another piece than the first one.
    rows = [EAST] * 5000
    rows[4321] = bad.get("rows", EAST)
    columns = {"uri": [str(number) for number in range(5000)]} | {
        column: [0] * 5000 for column in bad if column not in ("rows", "uri")
    }
    for column in bad.keys() & columns.keys():
        columns[column][4321] = bad[column]
    path = save(tmp_path / f"e.{name}", np.array(rows, np.float32), origin(), **columns)
    message = refused(tmp_path, path)
    assert message.startswith(f"{path}: row 4321, counted from 0: {problem}")


def test_of_several_repeated_frames_the_first_is_named(tmp_path):
    names = [f"{number}" for number in range(100)]
    path = save(tmp_path / "e.npz", [EAST] * 200, origin(), uri=names + names[::-1])
    assert "row 100, counted from 0: the same frame of the same file as row 99." in refused(tmp_path, path)


@pytest.mark.parametrize(
    ("embedding", "problem"),
    [
        (pa.array([EAST, (1.0, 0.0, 0.0)]), "row 1, counted from 0: the embedding has not 2 numbers"),
        (pa.array([EAST, None]), "row 1, counted from 0: the embedding has not 2 numbers"),
        (pa.array([EAST, (1.0, None)]), "row 1, counted from 0: a number of the embedding is missing"),
        (pa.array([[1], [0]]), "column 'embedding' holds list<element: int64>"),
        (pa.array(["1 0", "0 1"]), "column 'embedding' holds string"),
    ],
)
def test_embeddings_of_another_shape_are_refused(tmp_path, embedding, problem):
    path = save(tmp_path / "e.parquet", embedding, origin(), uri=["a", "b"])
    assert f"{path}: {problem}" in refused(tmp_path, path)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"modality": [1, 2]}, "column 'modality' holds int64; a gallery has string there"),
        ({"year": ["2020", "2021"]}, "column 'year' holds string; a gallery has int32 there"),
        ({"boxes": [[1], [2]]}, "column 'boxes' holds list<element: int64>; a column holds numbers or text"),
        ({"Modality": ["CT", "CT"]}, "column 'Modality': every gallery has one of its own"),
        ({"a.b": ["x", "y"]}, "column 'a.b': a name must not be empty"),
        ({"score": [1, 2]}, "column 'score': every gallery has one of its own"),
        ({"age": [1, 2], "Age": [1, 2]}, "columns 'age' and 'Age' differ in case alone"),
        ({"thumbnail": [b"GIF89a", b""]}, "row 0, counted from 0: the thumbnail is no small JPEG"),
    ],
)
def test_columns_that_no_gallery_can_hold_are_refused(tmp_path, columns, problem):
    path = save(tmp_path / "e.parquet", [EAST, NORTH], origin(), uri=["a", "b"], **columns)
    assert f"{path}: {problem}" in refused(tmp_path, path)


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pa.Table.from_arrays(
        [pa.array(["a"]), pa.array([EAST]), pa.array([1]), pa.array([2])], ["uri", "embedding", "age", "age"]
    )
    pq.write_table(table.replace_schema_metadata({KEY: origin().to_json()}), tmp_path / "e.parquet")
    assert "two columns 'age'" in refused(tmp_path, tmp_path / "e.parquet")


def test_columns_must_fit_those_of_the_gallery(tmp_path):
    gallery = gallery_of(tmp_path / "g", [EAST], [instance("z", sidecar={"age": 63, "note": "x"})])
    before = contents(gallery)
    for columns, problem in (
        ({"age": ["old"]}, "column 'age': text, and the gallery has numbers"),
        ({"Note": ["y"]}, "column 'Note': the gallery has it as 'note'"),
    ):
        path = save(tmp_path / "e.parquet", [EAST], origin(), uri=["a"], **columns)
        with pytest.raises(UnusableFile, match=problem):
            import_embeddings(tmp_path / "g", path)
    assert contents(tmp_path / "g") == before
    path = save(tmp_path / "e.parquet", [EAST], origin(), uri=["a"], note=[7])
    import_embeddings(tmp_path / "g", path, archive=ARCHIVE)
    assert contents(tmp_path / "g")[0][0].sidecar == {"age": None, "note": "7"}


def npy(array: np.ndarray, **changes: object) -> bytes:
    """Return an array's file, its header changed."""
    file = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array) | changes
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + array.tobytes()


URIS = npy(np.array(["a", "b"]))
ROWS = npy(np.array([EAST, NORTH], np.float16))


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"uri": URIS}, "no column 'embedding'"),
        ({"embedding": ROWS}, "no column 'uri'"),
        ({"uri": URIS[:-4], "embedding": ROWS}, "shape (2,) of <U1, but 4 bytes"),
        ({"uri": URIS + b"\0", "embedding": ROWS}, "shape (2,) of <U1, but 9 bytes"),
        ({"uri": URIS, "embedding": npy(np.zeros(0, "f2"), shape=(10**12, 1152))}, "but 0 bytes"),
        ({"uri": URIS, "embedding": npy(np.zeros(0, "f2"), shape=(2, 0))}, "shape (2, 0)"),
        ({"uri": URIS, "embedding": npy(np.ones(4, "f2"), shape=(-2, -2))}, "shape (-2, -2)"),
        ({"uri": URIS, "embedding": npy(np.ones(4, "f2"))}, "embedding is (N, D)"),
        ({"uri": npy(np.array(["a"])), "embedding": ROWS}, "2 rows, and 'uri' has 1"),
        ({"uri": npy(np.zeros(16, "u1"), descr="|O", shape=(2,)), "embedding": ROWS}, "Python objects"),
        ({"uri": npy(np.zeros(2, [("x", "i4")])), "embedding": ROWS}, "Python objects or records"),
        ({"uri": npy(np.array([["a"], ["b"]])), "embedding": ROWS}, "every other column (N,)"),
        ({"uri": URIS, "embedding": npy(np.eye(2, dtype="f2"), fortran_order=True)}, "Fortran order"),
        ({"uri": npy(np.full(2, 2**32 - 1, "u4"), descr="<U1"), "embedding": ROWS}, "cannot be read"),
        ({"uri": npy(np.array([0xD800] * 2, "u4"), descr="<U1"), "embedding": ROWS}, "cannot be read"),
        ({"uri": b"\x93NUMPY\x01\x00\xff\xff{", "embedding": ROWS}, "cannot be read as NPZ"),
        ({"uri": b"not an array", "embedding": ROWS}, "cannot be read as NPZ"),
    ],
)
def test_an_npz_that_lies_is_refused(tmp_path, members, problem):
    path = tmp_path / "e.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("_medsiglip_search.npy", npy(np.array(origin().to_json().decode())))
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    assert problem in refused(tmp_path, path)


@pytest.mark.parametrize(
    ("name", "content", "compression", "problem"),
    [
        ("uri", npy(np.array(["a" * 1_100_000])), zipfile.ZIP_DEFLATED, "4400000 bytes in each row"),
        ("uri", npy(np.array(["a"])), zipfile.ZIP_BZIP2, "compressed as NumPy does not do it"),
        ("_medsiglip_search", npy(np.array("a" * 300_000)), zipfile.ZIP_DEFLATED, "too long"),
        ("year", npy(np.array([2021])), zipfile.ZIP_DEFLATED, "array 'year': stands there twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_npz_as_numpy_never_writes_it_is_refused(tmp_path, name, content, compression, problem):
    path = save(tmp_path / "e.npz", [EAST], year=[2020])
    with zipfile.ZipFile(path, "a", compression) as archive:
        archive.writestr(f"{name}.npy", content)
    assert problem in refused(tmp_path, path)


def test_text_that_is_not_utf8_is_refused(tmp_path):
    bad = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff"))
    path = save(tmp_path / "e.parquet", [EAST, NORTH], origin(), uri=["a", "b"], note=bad)
    assert "row 1, counted from 0: note is no string that a gallery can hold" in refused(tmp_path, path)


def test_an_array_that_inflates_without_end_is_refused_by_its_first_rows(tmp_path):
    path = tmp_path / "e.npz"
    count = 4_000_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_medsiglip_search.npy", npy(np.array(origin(50).to_json().decode())))
        archive.writestr("uri.npy", npy(np.zeros(count, "u1"), descr="|S1"))
        archive.writestr("embedding.npy", npy(np.zeros((count, 50), "f2")))
    assert path.stat().st_size < 1_000_000
    assert "row 0, counted from 0" in refused(tmp_path, path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "e.parquet"
    assert "cannot be opened: No such file" in refused(tmp_path, path)
    path.write_text("uri,embedding\n")
    assert "neither Parquet nor NPZ" in refused(tmp_path, path)
    whole = save(tmp_path / "whole.parquet", [EAST], origin(), uri=["a"]).read_bytes()
    path.write_bytes(whole[:-9])
    assert "cannot be read as Parquet" in refused(tmp_path, path)


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_refused_or_read_but_nothing_else_happens(tmp_path, name):
    rng = np.random.default_rng(0)
    columns = {
        "uri": [f"{n}.dcm" for n in range(40)],
        "year": [2020] * 40,
        "note": ["x" * n for n in range(40)],
    }
    whole = save(
        tmp_path / f"e.{name}", unit(rng.standard_normal((40, 8))), origin(8), **columns
    ).read_bytes()
    refusals = 0
    for number in range(60):
        content = bytearray(whole)
        content[rng.integers(4, len(content))] ^= 1 << rng.integers(8)
        path = tmp_path / f"damaged.{name}"
        path.write_bytes(bytes(content[: rng.integers(4, len(content))] if number % 4 == 0 else content))
        try:
            import_embeddings(tmp_path / "g", path)
        except MedSiglipSearchError:
            refusals += 1
    assert refusals > 15


# Norm


@pytest.mark.parametrize("name", FORMATS)
def test_embeddings_are_scaled_when_asked_for(tmp_path, name):
    rows = np.array([(3.0, 4.0), (1e-30, 0.0), (1e30, -1e30)])
    path = save(tmp_path / f"e.{name}", rows, origin(), uri=["a", "b", "c"])
    import_embeddings(tmp_path / "g", path, normalize=True)
    stored = Gallery.open(tmp_path / "g").embeddings()[1]
    assert stored.tolist() == np.array([(0.6, 0.8), (1, 0), (0.5**0.5, -(0.5**0.5))], np.float16).tolist()
    path = save(tmp_path / f"e.{name}", [EAST, (0.0, 0.0)], origin(), uri=["a", "b"])
    assert "row 1, counted from 0: the embedding is all zeros" in refused(tmp_path, path, normalize=True)


# The encoder


def test_the_encoder_must_be_told_from_somewhere(tmp_path):
    path = save(tmp_path / "e.npz", [EAST], uri=["a"])
    assert "does not say what its embeddings were made with. Pass --encoder" in refused(tmp_path, path)


def test_a_foreign_file_takes_the_encoder_that_is_named(tmp_path):
    encoder = load_encoder("demo", "cpu")
    row = np.zeros((1, encoder.dim))
    row[0, 3] = 1
    path = save(tmp_path / "e.npz", row, uri=["a"])
    import_embeddings(tmp_path / "g", path, encoder="demo", device="cpu")
    gallery = Gallery.open(tmp_path / "g")
    gallery.require(encoder)
    assert (gallery.meta.encoder, gallery.meta.identifiers) == ("demo", "pseudonym")
    other = save(tmp_path / "other.npz", [EAST], uri=["a"])
    assert "the embedding has not 160 numbers" in refused(tmp_path, other, encoder="demo", device="cpu")
    said = save(tmp_path / "said.npz", [EAST], origin(), uri=["a"])
    message = refused(tmp_path, said, GalleryMismatch, encoder="demo", device="cpu")
    assert "--encoder do not go together: embedded with by-hand" in message


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"weights_digest": "cd" * 32}, "embedded with by-hand (weights abab"),
        ({"spec": replace(SPEC, fit="stretch")}, "pictures were made with fit pad and stretch"),
    ],
)
def test_a_gallery_takes_embeddings_of_its_own_encoder_only(tmp_path, changes, problem):
    gallery_of(tmp_path / "g", [EAST])
    path = save(tmp_path / "e.npz", [EAST], origin(**changes), uri=["a"])
    with pytest.raises(GalleryMismatch) as raised:
        import_embeddings(tmp_path / "g", path)
    assert problem in str(raised.value)
    assert len(Gallery.open(tmp_path / "g")) == 1


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"{}", UnusableFile),
        (b"nothing", UnusableFile),
        (origin(-5).to_json(), UnusableFile),
        (origin(10**9).to_json(), UnusableFile),
        (origin(format_version=1).to_json(), GalleryMismatch),
    ],
)
def test_a_file_that_says_nonsense_of_its_origin_is_refused(tmp_path, said, error):
    for path in (tmp_path / "e.parquet", tmp_path / "e.npz"):
        save(path, [EAST], uri=["a"])
    table = pq.read_table(tmp_path / "e.parquet").replace_schema_metadata({"medsiglip_search": said})
    pq.write_table(table, tmp_path / "e.parquet")
    with zipfile.ZipFile(tmp_path / "e.npz", "a") as archive:
        archive.writestr("_medsiglip_search.npy", npy(np.array(said.decode())))
    for path in (tmp_path / "e.parquet", tmp_path / "e.npz"):
        assert "xport it again" in refused(tmp_path, path, error)


# Identifiers


def identified(tmp_path: Path, kind: str | None) -> Path:
    said = origin(identifiers=kind) if kind else origin()
    return save(tmp_path / "e.parquet", [EAST], said, uri=["a"], patient=["P1 "], study=[""])


@pytest.mark.parametrize(
    ("file", "gallery", "stored"),
    [
        ("keep", "keep", "P1"),
        ("keep", "pseudonym", "pseudonym of P1"),
        ("keep", "drop", None),
        ("pseudonym", "pseudonym", "P1"),
        ("pseudonym", "drop", None),
    ],
)
def test_identifiers_become_what_the_gallery_makes_of_them(tmp_path, file, gallery, stored):
    target = Gallery.create(tmp_path / "g", replace(meta(), identifiers=gallery))
    import_embeddings(tmp_path / "g", identified(tmp_path, file))
    attributes = contents(tmp_path / "g")[0][0].attributes
    if stored == "pseudonym of P1":
        stored = Pseudonymizer(target.secret_key).pseudonym("patient", "P1")
    assert (attributes.patient, attributes.study) == (stored, None)


def test_pseudonyms_do_not_go_among_identifiers(tmp_path):
    Gallery.create(tmp_path / "g", replace(meta(), identifiers="keep"))
    with pytest.raises(GalleryMismatch, match="holds pseudonyms"):
        import_embeddings(tmp_path / "g", identified(tmp_path, "pseudonym"))


def test_pseudonyms_of_another_key_are_told_of(tmp_path, caplog):
    caplog.set_level(logging.WARNING, "medsiglip_search")
    gallery = gallery_of(tmp_path / "g", [EAST], [instance("a", patient="00ff00ff00ff00ff")])
    export(gallery, tmp_path / "e.npz")
    import_embeddings(tmp_path / "g", tmp_path / "e.npz")
    assert caplog.messages == []
    import_embeddings(tmp_path / "new", tmp_path / "e.npz")
    assert [message.count("another gallery's key") for message in caplog.messages] == [1]
    caplog.clear()
    export(gallery_of(tmp_path / "none", [EAST]), tmp_path / "none.npz")
    import_embeddings(tmp_path / "new", tmp_path / "none.npz")
    assert caplog.messages == []
