"""Truth tables: read, joined to a gallery, and what they say of whom."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from galleries import gallery_of, instance, meta, unit

from medsiglip_search.errors import InvalidQuery, InvalidTruth
from medsiglip_search.gallery import Gallery
from medsiglip_search.identifiers import identifiers_for
from medsiglip_search.records import Attributes, Identifiers
from medsiglip_search.truth import Truth, join, read_truth

HEADER = "path,Pleural Effusion,Edema\n"


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    instances = [
        instance("p1/a.png", patient="x", modality="CR", study="s1"),
        instance("p1/b.png", patient="x", modality="CT", study="s2"),
        instance("p2/c.png", patient="y", modality="CR", study="s3"),
        instance("volume.dcm", 0, study="s4"),
        instance("volume.dcm", 1, study="s4"),
    ]
    return gallery_of(tmp_path / "gallery", np.eye(5), instances)


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "truth.csv"
    path.write_text(text, "utf-8")
    return path


def joined(
    tmp_path: Path, gallery: Gallery, text: str, labels: list[str] | None = None, **how: object
) -> Truth:
    return join(read_truth(table(tmp_path, text)), gallery, labels, **how)  # type: ignore[arg-type]


def test_rows_are_joined_by_path_in_the_order_of_the_gallery(tmp_path, gallery):
    truth = joined(tmp_path, gallery, HEADER + "p2/c.png,1,0\np1/a.png,0,1\n")
    assert truth.image_ids.tolist() == [1, 3]
    assert truth.labels == ("Pleural Effusion", "Edema")
    assert truth.present.tolist() == [[0, 1], [1, 0]]
    assert truth.notes == truth.unknown == ()


def test_a_row_stands_for_all_frames_of_its_file_unless_it_names_one(tmp_path, gallery):
    whole = joined(tmp_path, gallery, HEADER + "volume.dcm,1,0\n")
    assert whole.image_ids.tolist() == [4, 5]
    assert whole.present.tolist() == [[1, 0], [1, 0]]
    assert whole.patients.tolist() == [0, 0]  # one study, although nobody says whose
    one = joined(tmp_path, gallery, "path,frame,Edema\nvolume.dcm,1,1\nvolume.dcm,0,0\n")
    assert one.present.tolist() == [[0], [1]]


@pytest.mark.parametrize("identifiers", ["pseudonym", "keep"])
def test_rows_are_joined_by_instance_whatever_the_gallery_makes_of_it(tmp_path, identifiers: Identifiers):
    path = tmp_path / "gallery"
    gallery = Gallery.create(path, replace(meta(), identifiers=identifiers))
    stored = identifiers_for(gallery)
    rows = [
        replace(instance(uri), attributes=stored.attributes(Attributes(instance=uid, patient=uid)))
        for uri, uid in (("a.dcm", "1.2.3"), ("b.dcm", "1.2.4"))
    ]
    with gallery.writer() as writer:
        writer.commit(rows, [b"", b""], unit(np.eye(2)), [])
    truth = joined(tmp_path, gallery, "instance,Edema\n1.2.4,1\n1.2.5,1\n")
    assert truth.image_ids.tolist() == [2]
    assert truth.unknown == ("1.2.5",)


def test_a_gallery_without_identifiers_cannot_be_joined_by_them(tmp_path):
    gallery = Gallery.create(tmp_path / "gallery", replace(meta(), identifiers="drop"))
    with gallery.writer() as writer:
        writer.commit([instance("a.dcm")], [b""], unit([[1, 0]]), [])
    with pytest.raises(InvalidTruth, match="stores no instances; join by a column path"):
        joined(tmp_path, gallery, "instance,Edema\n1.2.4,1\n")


def test_leading_folders_that_the_gallery_does_not_know_are_left_out(tmp_path, gallery):
    truth = joined(
        tmp_path, gallery, HEADER + "CheXpert-v1.0/test/p1/a.png,1,0\nCheXpert-v1.0/test/p2/c.png,0,0\n"
    )
    assert truth.image_ids.tolist() == [1, 3]
    assert truth.notes == ("of each path in the table the first 2 folders are left out",)


def test_unknown_files_are_counted_and_listed(tmp_path, gallery):
    rows = "".join(f"other/{number}.png,1,0\n" for number in range(12))
    truth = joined(tmp_path, gallery, HEADER + "p1/a.png,1,0\n" + rows)
    assert len(truth.unknown) == 12
    assert truth.notes[1].startswith("12 of 13 rows name no image of the gallery: other/0.png, other/1.png")
    assert truth.notes[1].endswith("other/9.png and 2 more")


def test_a_table_about_other_files_is_refused_with_an_example_of_each(tmp_path, gallery):
    with pytest.raises(InvalidTruth, match=r"The table has 'z.png', the gallery 'p1/a.png'"):
        joined(tmp_path, gallery, HEADER + "z.png,1,0\n")


def test_only_images_that_fit_a_filter(tmp_path, gallery):
    text = HEADER + "p1/a.png,1,0\np1/b.png,0,1\n"
    assert joined(tmp_path, gallery, text, where="modality = 'CT'").image_ids.tolist() == [2]
    with pytest.raises(InvalidTruth, match="no image that it names fits the filter"):
        joined(tmp_path, gallery, text, where="modality = 'MR'")
    with pytest.raises(InvalidQuery, match="no column"):
        joined(tmp_path, gallery, text, where="size_of_heart > 3")


def test_labels_and_columns_are_matched_without_regard_to_capitals_and_hyphens(tmp_path, gallery):
    truth = joined(tmp_path, gallery, HEADER + "p1/a.png,1,0\n", ["edema", "fracture", "pleural-effusion"])
    assert truth.labels == ("edema", "pleural-effusion")
    assert truth.present.tolist() == [[0, 1]]
    assert truth.of(["pleural-effusion"]).tolist() == [[1]]
    with pytest.raises(InvalidTruth, match=r"no column for 'fracture'\. Labels in it: edema"):
        truth.of(["fracture"])


def test_words_for_yes_and_no_and_empty_cells(tmp_path, gallery):
    text = "path,A\np1/a.png,Yes\np1/b.png,absent\np2/c.png,\nvolume.dcm,1.0\n"
    assert joined(tmp_path, gallery, text).present.ravel().tolist() == [1, 0, -1, 1, 1]


def test_uncertain_cells_say_nothing_and_are_counted(tmp_path, gallery):
    truth = joined(tmp_path, gallery, "path,A,B\np1/a.png,-1,1\np1/b.png,-1.0,-1\np2/c.png,1,0\n", ["A"])
    assert truth.present.ravel().tolist() == [-1, -1, 1]
    assert truth.notes == ("2 cells of the table say uncertain (-1) and are left out",)


def test_a_word_that_is_neither_yes_nor_no_is_refused_with_its_line(tmp_path, gallery):
    with pytest.raises(
        InvalidTruth, match=r"truth.csv, line 3: '2' in the column Edema is neither yes nor no"
    ):
        joined(tmp_path, gallery, HEADER + "p1/a.png,1,0\np1/b.png,1,2\n", ["Edema"])


def test_one_path_as_it_is_written_does_not_keep_the_others_from_their_folders(tmp_path, gallery):
    rows = "p1/a.png,1,0\ndata/p1/b.png,0,0\ndata/p2/c.png,0,0\ndata/volume.dcm,0,0\n"
    truth = joined(tmp_path, gallery, HEADER + rows)
    assert truth.image_ids.tolist() == [2, 3, 4, 5]
    assert truth.unknown == ("p1/a.png",)


def test_a_table_that_is_mostly_about_other_images_is_told_of(tmp_path, gallery):
    truth = joined(tmp_path, gallery, HEADER + "p1/a.png,1,0\nx.png,0,0\ny.png,0,0\n")
    assert truth.notes[0].startswith("most of the table is about other images")


def test_frames_that_are_not_there_are_told_of(tmp_path, gallery):
    with pytest.raises(InvalidTruth, match=r"The table has 'volume.dcm frame 7'.*and frames counted from 0"):
        joined(tmp_path, gallery, "path,frame,A\nvolume.dcm,7,1\n")
    assert joined(tmp_path, gallery, "path,frame,A\nvolume.dcm,1.0,1\n").image_ids.tolist() == [5]


def test_a_row_of_several_archives_is_told_of(tmp_path):
    rows = [instance("a.png"), instance("a.png", archive="/data/other")]
    truth = joined(tmp_path, gallery_of(tmp_path / "gallery", np.eye(2), rows), "path,A\na.png,1\n")
    assert truth.image_ids.tolist() == [1, 2]
    assert truth.notes[0].startswith("several archives have files of the same path")


def test_a_wrong_word_in_a_column_of_yes_and_no_is_told_with_its_line(tmp_path, gallery):
    with pytest.raises(InvalidTruth, match="line 3: 'ye' in the column A is neither yes nor no"):
        joined(tmp_path, gallery, "path,A\np1/a.png,yes\np1/b.png,ye\np2/c.png,no\n")


def test_a_wrong_word_in_the_one_column_that_names_labels_is_told_with_its_line(tmp_path, gallery):
    with pytest.raises(InvalidTruth, match="line 3: 'chst' in the column organ is none of the labels"):
        joined(
            tmp_path,
            gallery,
            "path,organ\np1/a.png,chest\np1/b.png,chst\n",
            ["chest", "head"],
            mode="exclusive",
        )


def test_patients_that_the_table_leaves_empty_are_those_of_the_gallery(tmp_path, gallery):
    truth = joined(tmp_path, gallery, "path,patient,A\np1/a.png,,1\np1/b.png,,0\np2/c.png,,0\n")
    assert truth.patients.tolist() == [0, 0, 1]
    assert truth.notes == ()


def test_labels_by_default_are_the_columns_of_yes_and_no(tmp_path, gallery):
    text = "path,age,A,note,B\np1/a.png,63,1,free text,\np1/b.png,40,0,,\n"
    assert joined(tmp_path, gallery, text).labels == ("A",)
    with pytest.raises(InvalidTruth, match="no column of yes and no"):
        joined(tmp_path, gallery, "path,age\np1/a.png,63\n")


def test_one_column_can_name_the_label(tmp_path, gallery):
    text = "path,organ,sex\np1/a.png,chest,f\np1/b.png,Head,m\np2/c.png,,f\n"
    expected = [[1, 0], [0, 1], [-1, -1]]
    for how in ({"labels": ["chest", "head"], "mode": "exclusive"}, {"column": "organ"}):
        truth = joined(tmp_path, gallery, text, **how)
        assert [label.lower() for label in truth.labels] == ["chest", "head"]
        assert truth.present.tolist() == expected


def test_words_that_differ_in_capitals_alone_are_one_label(tmp_path, gallery):
    truth = joined(tmp_path, gallery, "path,organ\np1/a.png,Chest\np1/b.png,CHEST\n", column="Organ")
    assert truth.labels == ("Chest",)
    assert truth.present.tolist() == [[1], [1]]


def test_a_named_label_that_is_unknown_is_refused_with_its_line(tmp_path, gallery):
    text = "path,organ\np1/a.png,chest\np1/b.png,abd\n"
    with pytest.raises(
        InvalidTruth, match=r"line 3: 'abd' in the column organ is none of the labels chest, head"
    ):
        joined(tmp_path, gallery, text, ["chest", "head"], mode="exclusive", column="organ")
    with pytest.raises(InvalidTruth, match="no column holds nothing but labels"):
        joined(tmp_path, gallery, text, ["knee", "hand"], mode="exclusive")


def test_exclusive_labels_can_have_a_column_each(tmp_path, gallery):
    text = "path,chest,head\np1/a.png,1,0\np1/b.png,0,1\n"
    truth = joined(tmp_path, gallery, text, ["head", "chest"], mode="exclusive")
    assert truth.present.tolist() == [[0, 1], [1, 0]]


def test_patients_come_from_the_gallery(tmp_path, gallery):
    truth = joined(tmp_path, gallery, HEADER + "p1/a.png,1,0\np1/b.png,0,0\np2/c.png,0,0\n")
    assert truth.patients.tolist() == [0, 0, 1]


def test_patients_of_the_table_come_first(tmp_path, gallery):
    truth = joined(tmp_path, gallery, "path,Patient,A\np1/a.png,k,1\np1/b.png,l,0\np2/c.png,k,0\n")
    assert truth.patients.tolist() == [0, 1, 0]


def test_patients_can_be_found_in_paths(tmp_path, gallery):
    text = HEADER + "p1/a.png,1,0\np1/b.png,0,0\np2/c.png,0,0\n"
    assert joined(tmp_path, gallery, text, patient=r"p\d").patients.tolist() == [0, 0, 1]
    assert joined(tmp_path, gallery, text, patient=r"/([ab])|/(c)").patients.tolist() == [0, 1, 2]
    with pytest.raises(InvalidTruth, match=r"--patient q\\d: matches none of the paths, such as 'p1/a.png'"):
        joined(tmp_path, gallery, text, patient=r"q\d")
    with pytest.raises(InvalidTruth, match="no regular expression"):
        joined(tmp_path, gallery, text, patient="(")


def test_images_of_unknown_patients_are_told_of(tmp_path, gallery):
    truth = joined(tmp_path, gallery, HEADER + "p1/a.png,1,0\nvolume.dcm,1,0\n")
    assert truth.patients.tolist() == [0, 1, 1]
    assert truth.notes[0].startswith("2 of 3 images are of an unknown patient")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column named path or instance"),
        ("file,A\na.png,1\n", "line 1: no column named path or instance"),
        ("path,A,a\na.png,1,1\n", "line 1: a column has no name, or another's"),
        ("path,A\n", "no row under its header"),
        ("path,A\na.png,1,2\n", "line 2: 3 cells for 2 columns"),
        ("path,A\n\na.png,1\n\n,1\n", "line 5: names no file"),
        ("path,A\na.png,1\nb.png,1\na.png,0\n", "line 4: a second row for the file of line 2"),
        ('path,A\na.png,"1\n', "save the table as CSV again"),
    ],
)
def test_tables_that_cannot_be_read_are_refused_with_their_line(tmp_path, text, message):
    with pytest.raises(InvalidTruth, match=message):
        read_truth(table(tmp_path, text))


def test_two_rows_for_one_image_are_refused_although_their_paths_differ(tmp_path, gallery):
    with pytest.raises(InvalidTruth, match="line 3: names the image of line 2 again"):
        joined(tmp_path, gallery, HEADER + "p1/a.png,1,0\np1//a.png,0,0\n")


def test_files_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(InvalidTruth, match="cannot be read: no such file"):
        read_truth(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("path,Läsion\n".encode("latin-1"))
    with pytest.raises(InvalidTruth, match="not UTF-8"):
        read_truth(tmp_path / "latin.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_as_spreadsheets_write_it(tmp_path, gallery, delimiter):
    text = "\ufeff" + delimiter.join(["PATH", "Edema"]) + "\r\n" + delimiter.join(["p1/a.png", "1"]) + "\r\n"
    (tmp_path / "truth.csv").write_bytes(text.encode())
    truth = join(read_truth(tmp_path / "truth.csv"), gallery, None)
    assert truth.present.tolist() == [[1]]


def test_some_rows_of_a_truth(tmp_path, gallery):
    truth = joined(tmp_path, gallery, HEADER + "p1/a.png,1,0\np1/b.png,0,0\np2/c.png,0,1\n")
    some = truth.only(np.array([True, False, True]))
    assert some.image_ids.tolist() == [1, 3]
    assert some.present.tolist() == [[1, 0], [0, 1]]
    assert some.patients.tolist() == [0, 1]
