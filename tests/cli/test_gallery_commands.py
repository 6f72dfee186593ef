"""The commands that look after a gallery, as a user meets them."""

import csv
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import Run, one_error

from medsiglip_search.gallery import Gallery


@pytest.fixture
def own(tmp_path: Path, gallery: Path) -> Path:
    """A copy of the gallery, to be changed."""
    return Path(shutil.copytree(gallery, tmp_path / "own"))


@pytest.fixture
def own_archive(tmp_path: Path, archive: Path) -> Path:
    return Path(shutil.copytree(archive, tmp_path / "archive"))


def counts(run: Run, gallery: Path) -> dict[str, int]:
    """Return of each picture that a search finds for how many images it stands."""
    hits = run("search", gallery, "anything", "--top-k", "99", "--json").json
    return {hit["uri"]: hit["count"] for hit in hits}


def uris(run: Run, gallery: Path) -> list[str]:
    return sorted(counts(run, gallery))


def test_deleted_images_are_gone_from_search_at_once(run: Run, own: Path) -> None:
    outcome = run("delete", own, "--where", "modality = 'CT' OR uri = '0.png'")
    assert outcome.code == 0
    assert outcome.out == [
        "deleted      2 images, 0 rejections",
        "on the disk  until a later compact, or delete --purge",
        "images       3 left",
    ]
    assert "comes back with the next index run" in outcome.err[-1]
    assert uris(run, own) == ["1.png", "2.png", "3.png"]


def test_purged_images_leave_no_old_version_behind(run: Run, own: Path) -> None:
    data = {path.name for path in (own / "images.lance" / "data").iterdir()}
    outcome = run("delete", own, "--where", "uri = '0.png'", "--purge", "--json")
    assert outcome.json == [{"deleted": 1, "rejected": 0, "purged": True, "images": 4}]
    assert not data & {path.name for path in (own / "images.lance" / "data").iterdir()}
    assert run("verify", own).code == 0


def test_the_rejections_of_an_archive_can_be_deleted(run: Run, own: Path, archive: Path) -> None:
    outcome = run("delete", own, "--where", f"archive = '{archive}'")
    assert outcome.out == [
        "deleted      5 images, 1 rejection",
        "on the disk  until a later compact, or delete --purge",
        "images       0 left",
    ]
    assert run("rejected", own).out == ["nothing is rejected"]


@pytest.mark.parametrize("where", ["nonsense = 1", "", "1=1; DROP TABLE images"])
def test_a_condition_that_is_none_deletes_nothing(run: Run, own: Path, where: str) -> None:
    outcome = run("delete", own, "--where", where)
    assert outcome.code == 2
    assert "filter: " in one_error(outcome)
    assert len(Gallery.open(own)) == 5


def test_delete_wants_a_condition(run: Run, own: Path) -> None:
    outcome = run("delete", own)
    assert (outcome.code, one_error(outcome)) == (
        2,
        "Missing option '--where'. (see medsiglip-search delete --help)",
    )


def test_compact_makes_few_files_of_many(run: Run, own: Path, own_archive: Path) -> None:
    for number in range(4):
        (own_archive / "0.png").write_bytes((own_archive / f"{number}.png").read_bytes())
        assert run("index", own, own_archive).code == 0
    before = uris(run, own)
    (compaction,) = run("compact", own, "--keep", "0", "--json").json
    assert compaction["files_after"] < compaction["files_before"]
    assert compaction["bytes_after"] < compaction["bytes_before"]
    assert len(list((own / "images.lance" / "data").iterdir())) == 1
    assert uris(run, own) == before
    assert run("verify", own).code == 0


def test_a_backup_is_a_gallery_of_its_own(run: Run, own: Path, tmp_path: Path) -> None:
    outcome = run("backup", own, tmp_path / "copy")
    assert outcome.code == 0
    assert outcome.out[0].startswith("copied  5 images, ")
    shutil.rmtree(own)
    assert uris(run, tmp_path / "copy") == ["0.png", "1.png", "2.png", "3.png", "ct.dcm"]
    again = run("backup", tmp_path / "copy", tmp_path / "copy")
    assert again.code != 0
    assert str(tmp_path / "copy") in one_error(again)


def test_verify_finds_a_flipped_bit_and_exits_with_4(run: Run, own: Path) -> None:
    assert run("verify", own).out[-1] == "result   sound"
    (data,) = (own / "images.lance" / "data").iterdir()
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    outcome = run("verify", own)
    assert outcome.code == 4
    assert any(line.startswith("problem") and data.name in line for line in outcome.out)
    (result,) = run("verify", own, "--json").json
    assert [data.name in problem["place"] for problem in result["problems"]] == [True]


def test_verify_lists_the_files_that_are_gone_from_their_archive(
    run: Run, own: Path, own_archive: Path
) -> None:
    assert run("index", own, own_archive).code == 0
    (own_archive / "2.png").unlink()
    outcome = run("verify", own, "--sources", "--json")
    assert outcome.code == 0
    assert outcome.json[0]["gone"] == [{"archive": str(own_archive), "uri": "2.png"}]


def test_rejected_by_reason_and_as_a_table(run: Run, gallery: Path, tmp_path: Path) -> None:
    assert run("rejected", gallery, "--reason", "truncated").out == ["nothing is rejected"]
    assert run("rejected", gallery, "--reason", "nonsense").code == 2
    table = tmp_path / "rejected.csv"
    outcome = run("rejected", gallery, "--reason", "not_an_image", "--out", table)
    assert (outcome.code, outcome.out) == (0, [])
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["uri"], row["frame"], row["reason"]) for row in rows] == [("notes.txt", "", "not_an_image")]


def test_runs_are_kept_and_told(run: Run, own: Path, archive: Path) -> None:
    first = run("inspect", own, "--runs", "--json").json
    run("index", own, archive)
    latest, *earlier = run("inspect", own, "--runs", "--json").json
    assert earlier == first
    assert (latest["state"], latest["embedded"], latest["unchanged"]) == ("done", 0, 5)
    assert latest["archives"] == [str(archive)]
    assert run("inspect", own, "--json").json[0]["last_run"] == latest
    assert run("inspect", own, "--runs").out[1].split()[1:3] == ["done", "0"]


def test_prune_drops_what_is_gone(run: Run, own: Path, own_archive: Path) -> None:
    run("index", own, own_archive)
    (own_archive / "2.png").unlink()
    kept = run("index", own, own_archive)
    assert any("--prune" in line for line in kept.err)
    pruned = run("index", own, own_archive, "--prune", "--json")
    assert pruned.json[-1]["removed"] == 1
    where = f"archive = '{own_archive}'"
    assert "2.png" not in {
        hit["uri"] for hit in run("search", own, "x", "--where", where, "--top-k", "99", "--json").json
    }


def test_progress_for_programs_is_json_on_stderr(
    run: Run, tmp_path: Path, archive: Path, checkpoint: Path
) -> None:
    outcome = run("index", tmp_path / "new", archive, "--encoder", checkpoint, "--json")
    assert len(outcome.out) == 1
    progress = [json.loads(line) for line in outcome.err if line.startswith("{")]
    assert {"files", "total", "embedded", "listed", "images_per_second", "seconds_left"} <= progress[0].keys()


def test_archives_may_be_packed(run: Run, tmp_path: Path, archive: Path, checkpoint: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(archive, ".")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as packed:
        packed.write(archive / "ct.dcm", "deep/ct.dcm")
    made = run("index", tmp_path / "new", tmp_path / "a.tar.gz", tmp_path / "b.zip", "--encoder", checkpoint)
    assert made.code == 0
    assert made.out[0].startswith("embedded  6 images")
    assert counts(run, tmp_path / "new") == {"0.png": 1, "1.png": 1, "2.png": 1, "3.png": 1, "ct.dcm": 2}


@pytest.mark.parametrize("name", ["rows.parquet", "rows.npz"])
def test_what_is_exported_can_be_imported(run: Run, gallery: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    exported = run("export", gallery, file)
    assert exported.code == 0
    assert exported.out[0].startswith("exported  5 images, ")
    imported = run("import", tmp_path / "again", file, "--json")
    assert imported.json == [{"rows": 5, "files": 5}]
    ids, embeddings = Gallery.open(tmp_path / "again").embeddings()
    assert np.array_equal(embeddings, Gallery.open(gallery).embeddings()[1])
    assert len(ids) == 5
    assert run("export", gallery, file).code == 2
    assert run("export", gallery, file, "--overwrite").code == 0


def test_export_takes_a_filter(run: Run, gallery: Path, tmp_path: Path) -> None:
    assert run("export", gallery, tmp_path / "ct.parquet", "--where", "modality = 'CT'").code == 0
    assert pq.read_table(tmp_path / "ct.parquet")["uri"].to_pylist() == ["ct.dcm"]


def test_import_wants_to_know_the_encoder(run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", uri=np.array(["a.png"]), embedding=np.ones((1, 32), np.float32))
    outcome = run("import", tmp_path / "new", tmp_path / "own.npz")
    assert outcome.code == 2
    assert "--encoder" in one_error(outcome)


def test_import_refuses_embeddings_that_are_not_of_norm_1(run: Run, tmp_path: Path, checkpoint: Path) -> None:
    np.savez(tmp_path / "own.npz", uri=np.array(["a.png"]), embedding=np.ones((1, 32), np.float32))
    refused = run("import", tmp_path / "new", tmp_path / "own.npz", "--encoder", checkpoint)
    assert refused.code == 2
    assert "--normalize" in one_error(refused)
    assert (
        run("import", tmp_path / "new", tmp_path / "own.npz", "--encoder", checkpoint, "--normalize").code
        == 0
    )
    assert uris(run, tmp_path / "new") == ["a.png"]


def test_merge_adds_the_files_that_are_not_there(
    run: Run, own: Path, tmp_path: Path, own_archive: Path, checkpoint: Path
) -> None:
    run("index", tmp_path / "other", own_archive, "--encoder", checkpoint)
    merged = run("merge", own, tmp_path / "other", "--json")
    assert merged.json == [{"rows": 5, "files": 6, "already_there": 0}]
    assert list(counts(run, own).values()) == [2] * 5
    assert run("merge", own, tmp_path / "other", "--json").json[0]["already_there"] == 6
