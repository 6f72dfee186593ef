"""The table beside an archive: what its cells become, and which tables are refused."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.sidecar import SidecarRow, is_joined, is_table, joined, read_sidecar
from indexer.sources import Entry
from indexer.sources.folder import LocalFile
from medsiglip_search.errors import InvalidMetadata
from medsiglip_search.identifiers import Dropped, Kept, Pseudonymizer
from medsiglip_search.records import Attributes, Instance


def table(folder: Path, text: str | bytes) -> Path:
    path = folder / "metadata.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_cells_become_attributes_and_columns(tmp_path: Path) -> None:
    sidecar = read_sidecar(
        table(
            tmp_path,
            "Path,patient,Modality,year,report,age,dose\n"
            'a/1.dcm,P 1,CT,2019,"No bleed, no mass.",61,0.5\n'
            "2.png,,,,,,\n",
        )
    )
    assert sidecar.rows == {
        "a/1.dcm": SidecarRow(
            Attributes(patient="P 1", modality="CT", year=2019),
            {"report": "No bleed, no mass.", "age": 61, "dose": 0.5},
        ),
        "2.png": SidecarRow(Attributes(), {"report": None, "age": None, "dose": None}),
    }
    assert sidecar.row("other.png") == SidecarRow(Attributes(), {"report": None, "age": None, "dose": None})


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-2", "+3"], [1, -2, 3]),
        (["1", "2.5", "1e3"], [1.0, 2.5, 1000.0]),
        (["1", "", "2"], [1, None, 2]),
        (["1", "n/a"], ["1", "n/a"]),
        (["007", "12"], ["007", "12"]),  # an identifier
        (["12345678901234567890", "1"], ["12345678901234567890", "1"]),
        (["1_000", "1"], ["1_000", "1"]),
        (["nan", "1"], ["nan", "1"]),
        (["inf", "1"], ["inf", "1"]),
        (["٣", "1"], ["٣", "1"]),
    ],
)
def test_a_column_is_of_one_type(tmp_path: Path, cells: list[str], values: list[object]) -> None:
    text = "path,x\n" + "".join(f"{i}.png,{cell}\n" for i, cell in enumerate(cells))
    rows = read_sidecar(table(tmp_path, text)).rows
    read = [rows[f"{i}.png"].columns["x"] for i in range(len(cells))]
    assert read == values
    assert len({type(value) for value in read if value is not None}) == 1


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with byte order mark"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_dialects_of_spreadsheets_are_read(tmp_path: Path, delimiter: str, mark: bytes, newline: str) -> None:
    lines = [f"path{delimiter}report", f'a.png{delimiter}"erste Zeile{newline}zweite, naïve"', ""]
    sidecar = read_sidecar(table(tmp_path, mark + newline.join(lines).encode()))
    assert sidecar.row("a.png").columns == {"report": f"erste Zeile{newline}zweite, naïve"}


def test_the_path_may_be_written_with_dots(tmp_path: Path) -> None:
    sidecar = read_sidecar(table(tmp_path, "report,path\nx,./a//b/../1.dcm\n"))
    assert list(sidecar.rows) == ["a/1.dcm"]


def test_a_table_without_rows_adds_columns_only(tmp_path: Path) -> None:
    sidecar = read_sidecar(table(tmp_path, "path,report\n"))
    assert sidecar.rows == {}
    assert sidecar.row("a.png").columns == {"report": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column named path"),
        ("file,report\na.png,x\n", "no column named path"),
        ("path,report\na.png,x\nb.png,x,y\n", "line 3: 3 cells, 2 columns"),
        ("path,report\na.png\n", "line 2: 1 cells, 2 columns"),
        ('path,report\na.png,"two\nlines"\n,x\n', "line 4: no path"),
        ("path,report\na.png,x\n./a.png,y\n", "line 3: a second row"),
        ("path,x,x\na.png,1,2\n", "or another's"),
        ("path,Report,report\na.png,1,2\n", "or another's"),
        ("path,a.b\na.png,1\n", "column 'a.b': a name must not"),
        ("path,\na.png,1\n", "has no name"),
        ("path,uri\na.png,1\n", "column 'uri': every gallery has one"),
        ("path,Score\na.png,1\n", "column 'Score': every gallery has one"),
        ("path,year\na.png,99\n", "column year"),
        ("path,position_mm\na.png,-3.5\nb.png,3 mm\n", "column position_mm"),
        ("path,position_mm\na.png,nan\n", "column position_mm"),
        ('path,report\na.png,"x\n', "after line 1: unexpected end of data"),
        (b"path,report\na.png,na\xefve\n", "not UTF-8"),
    ],
)
def test_a_table_that_cannot_be_joined_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InvalidMetadata, match=message) as error:
        read_sidecar(table(tmp_path, text))
    assert "\n" not in str(error.value)
    assert "a.png" not in str(error.value)  # a path can name a patient


def test_an_absent_table_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidMetadata, match="no such file"):
        read_sidecar(tmp_path / "absent.csv")
    with pytest.raises(InvalidMetadata, match="is a directory"):
        read_sidecar(tmp_path)


def test_rows_without_a_file_are_told_and_refused_where_all_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sidecar = read_sidecar(table(tmp_path, "path,report\nimages/a.png,x\nimages/b.png,x\n"))
    sidecar.match(Counter(list(sidecar.rows)))
    assert caplog.messages == []
    sidecar.match(Counter(["images/a.png"]))
    assert caplog.messages == [f"{tmp_path}/metadata.csv: 1 of 2 rows name no file of the archive"]
    with pytest.raises(InvalidMetadata, match="none of its 2 paths is a file of the archive"):
        sidecar.match(Counter())


def test_rows_of_a_file_in_several_archives_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sidecar = read_sidecar(table(tmp_path, "path,report\na.png,x\nb.png,x\n"))
    sidecar.match(Counter({"a.png": 1, "b.png": 3}))
    assert caplog.messages == [
        f"{tmp_path}/metadata.csv: 1 of 2 rows name a file in more than one of the archives, and were joined "
        "to each of them; if the table is of one archive, index that one alone with --metadata"
    ]


def test_a_table_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidMetadata, match=r"absent.csv: cannot be read: no such file .*; give a table that"
    ):
        read_sidecar(tmp_path / "absent.csv")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    path = table(tmp_path, "path,report\n" + text)
    try:
        read_sidecar(path)
    except InvalidMetadata as error:
        assert str(error).startswith(str(path))  # noqa: PT017


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("labels.csv", "image,organ\nä.jpg,chest\n".encode(), True),
        ("LABELS.TSV", b"image\torgan\n", True),
        ("notes.txt", b"image,organ\n", False),
        ("picture.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", False),
        ("dicom.csv", bytes(128) + b"DICM", False),
        ("empty.csv", b"", False),
    ],
)
def test_only_text_named_as_a_table_is_one(tmp_path: Path, name: str, content: bytes, expected: bool) -> None:
    (tmp_path / name).write_bytes(content)
    assert is_table(Entry("archive", name, 0, 0, LocalFile(str(tmp_path / name)))) is expected


def test_the_table_overrides_the_file_and_identifiers_become_pseudonyms() -> None:
    pseudonymizer = Pseudonymizer(b"k" * 32)
    read = Instance(
        *(0, "archive", "a.dcm", 0, "digest", "digest", 1, 1, 2, 2),
        Attributes(modality="OT", body_part="CHEST", patient="file", series="1.2"),
    )
    row = SidecarRow(Attributes(modality="CR", patient="table", year=2020), {"report": "normal"})
    stored = joined(read, row, pseudonymizer)
    assert stored.attributes == Attributes(
        modality="CR",
        body_part="CHEST",
        year=2020,
        patient=pseudonymizer.pseudonym("patient", "table"),
        series=pseudonymizer.pseudonym("series", "1.2"),
    )
    assert stored.sidecar == {"report": "normal"}
    assert is_joined(stored, row, pseudonymizer)
    assert is_joined(stored, SidecarRow(Attributes(patient="table"), {"report": "normal"}), pseudonymizer)
    assert not is_joined(stored, SidecarRow(Attributes(patient="file")), pseudonymizer)
    assert not is_joined(stored, SidecarRow(columns={"report": None}), pseudonymizer)
    assert not is_joined(stored, SidecarRow(columns={"report": "normal", "age": 3}), pseudonymizer)


def test_positions_are_numbers_of_millimetres(tmp_path: Path) -> None:
    rows = read_sidecar(table(tmp_path, "path,Position_mm\na.png,-12.5\nb.png,3\nc.png,\n")).rows
    assert [rows[uri].attributes.position_mm for uri in ("a.png", "b.png", "c.png")] == [-12.5, 3.0, None]
    assert type(rows["b.png"].attributes.position_mm) is float


def test_identifiers_of_the_table_go_the_way_of_the_gallery() -> None:
    read = Instance(
        *(0, "archive", "a.dcm", 0, "digest", "digest", 1, 1, 2, 2), Attributes(patient="file ", series="1.2")
    )
    row = SidecarRow(Attributes(patient="table", study=" 9 ", modality="CR"))
    kept, dropped = joined(read, row, Kept()), joined(read, row, Dropped())
    assert kept.attributes == Attributes(patient="table", study="9", series="1.2", modality="CR")
    assert dropped.attributes == Attributes(modality="CR")
    assert is_joined(kept, row, Kept())
    assert is_joined(dropped, row, Dropped())
    assert not is_joined(dropped, row, Kept())
