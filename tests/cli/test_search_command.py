"""What a user of the search command sees and can ask for, on a small gallery of the demo's pictures."""

import json
import math
from pathlib import Path

import pytest
from command_line import NOTICES, Outcome, Run, one_error

from medsiglip_search.cli import main
from medsiglip_search.gallery import Gallery

IMAGES = 120


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a synthetic archive and its gallery."""
    out = tmp_path_factory.mktemp("demo") / "out"
    for command in (
        ["demo", "--archive-only", "--out", str(out), "--seed", "5", "--images", str(IMAGES)],
        ["index", str(out / "gallery"), str(out / "archive"), "--metadata", f"{out}/archive/metadata.csv"],
    ):
        with pytest.raises(SystemExit, match="0"):
            main([*command, *(["--encoder", "demo"] if command[0] == "index" else [])])
    return out


@pytest.fixture
def ask(run: Run, demo: Path):
    def ask_gallery(*arguments: object) -> Outcome:
        outcome = run("search", demo / "gallery", *arguments)
        told = [line for line in outcome.err if not line.startswith(NOTICES)]
        return Outcome(outcome.code, outcome.out, told)

    return ask_gallery


def findings(outcome: Outcome) -> list[str]:
    return [hit["findings"] or "" for hit in outcome.json]


def test_hits_are_on_stdout_and_what_is_said_of_them_all_on_stderr(ask) -> None:
    outcome = ask("pneumothorax", "--top-k", 3, "--json")
    assert [hit["rank"] for hit in outcome.json] == [1, 2, 3]
    (said,) = map(json.loads, outcome.err)
    assert said.pop("cursor")
    assert said == {"hits": 3, "matches": True, "notes": []}


def test_among_the_notices_on_stderr_only_what_is_said_of_hits_begins_as_json(run: Run, demo: Path) -> None:
    outcome = run("search", demo / "gallery", "pneumothorax", "--json")
    assert any(line.startswith(NOTICES) for line in outcome.err)
    (said,) = [json.loads(line) for line in outcome.err if line.startswith("{")]
    assert said["hits"] == len(outcome.json)
    (like,) = run(
        "search", demo / "gallery", "--study", outcome.json[0]["study"], "--json", "--top-k", 1
    ).json
    assert like["study"] != outcome.json[0]["study"]


def test_it_is_said_that_nothing_stands_out(ask) -> None:
    outcome = ask("train timetable", "--top-k", 2)
    assert len(outcome.out) == 3
    assert outcome.err == [
        "Nothing stands out: the gallery probably holds no match, and these are the nearest."
    ]
    assert ask("pneumothorax").err == []
    assert json.loads(ask("train timetable", "--json").err[0])["matches"] is False
    assert ask("train timetable", "--min-relevance", 9).out == ["no image fits"]


def test_what_must_not_be_there(ask) -> None:
    for arguments in (
        ["chest radiograph without pneumothorax"],
        ["chest radiograph", "--without", "pneumothorax"],
    ):
        outcome = ask(*arguments, "--json", "--top-k", 15)
        assert not any("pneumothorax" in one for one in findings(outcome))
        assert {hit["modality"] for hit in outcome.json} == {"CR"}
        assert json.loads(outcome.err[0])["notes"] == ["taken as absent: pneumothorax"]
    assert json.loads(ask("no pneumothorax", "--as-written", "--json").err[0])["notes"] == []


def test_images_that_hits_are_not_to_be_like(ask) -> None:
    [shown] = ask("pneumothorax", "--json", "--top-k", 1).json
    outcome = ask("chest radiograph", "--unlike", shown["image_id"], "--json", "--top-k", 15)
    assert shown["image_id"] not in [hit["image_id"] for hit in outcome.json]
    assert not any("pneumothorax" in one for one in findings(outcome))
    assert {hit["modality"] for hit in outcome.json} == {"CR"}


def test_pages_follow_each_other(ask) -> None:
    whole = [hit["image_id"] for hit in ask("infarct", "--top-k", 7, "--json").json]
    first = ask("infarct", "--top-k", 4, "--json")
    cursor = json.loads(first.err[0])["cursor"]
    second = ask("infarct", "--top-k", 3, "--cursor", cursor, "--json")
    assert [hit["rank"] for hit in second.json] == [5, 6, 7]
    assert [hit["image_id"] for hit in first.json + second.json] == whole
    assert "of another query" in one_error(ask("nevus", "--cursor", cursor))
    assert "cursor: it is none" in one_error(ask("nevus", "--cursor", "x"))


def test_one_hit_a_patient_with_a_count(ask) -> None:
    hits = ask("melanoma", "--group-by", "patient", "--json", "--top-k", 5).json
    assert len({hit["patient"] for hit in hits}) == 5
    assert hits[0]["count"] > 1
    outcome = ask("melanoma", "--group-by", "patient", "--top-k", 5)
    assert outcome.out[0].split()[:5] == ["rank", "score", "relevance", "count", "image_id"]
    assert [line.split()[3] for line in outcome.out[1:]] == [str(hit["count"]) for hit in hits]


def test_cases_like_a_study_of_the_gallery_or_like_files(ask, demo: Path) -> None:
    (best,) = ask("melanoma", "--top-k", 1, "--json").json
    like_study = ask("--study", best["study"], "--json", "--top-k", 1).json[0]
    assert "melanoma" in like_study["findings"]
    assert like_study["patient"] != best["patient"]
    assert ask("--study", best["study"], "--any-patient", "--json").json[0]["study"] != best["study"]
    gallery = Gallery.open(demo / "gallery")
    of_study = gallery.instances(gallery.select(f"study = '{best['study']}'"))
    files = [part for one in of_study for part in ("--image", Path(one.archive) / one.uri)]
    hits = ask(*files, "--as-case", "--json", "--top-k", 2).json
    assert hits[0]["study"] == best["study"]
    assert hits[0]["score"] == pytest.approx(1, abs=1e-3)
    assert hits[1]["study"] != best["study"]


def test_a_region_of_each_image(ask, demo: Path) -> None:
    gallery = Gallery.open(demo / "gallery")
    image_id = gallery.select("modality = 'DMS'")[0]
    (one,) = gallery.instances([image_id])
    file = Path(one.archive) / one.uri
    whole = ask("--image", file, "--region", f"0,0,{one.columns},{one.rows}", "--json").json[0]
    assert whole["image_id"] == image_id
    part = ask("--image", file, "--region", "0,0,30,30", "--json").json[0]
    assert part["score"] < whole["score"]
    for region, problem in (
        ("0,0,9999,9", f"the picture is {one.columns} wide and {one.rows} high"),
        ("0,0,9", "give X0,Y0,X1,Y1 in whole pixels"),
    ):
        assert problem in one_error(ask("--image", file, "--region", region))
    error = one_error(ask("--image", file, "--region", "0,0,9,9", "--region", "0,0,9,9"))
    assert error == "2 --region for 1 --image; give one for each, in their order"


def test_queries_of_a_file_are_answered_in_one_run(ask, tmp_path: Path) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("melanoma\n\n  pneumothorax\ntrain timetable\n")
    outcome = ask("--queries", file, "--top-k", 2, "--json")
    assert [(hit["query"], hit["query_text"], hit["rank"]) for hit in outcome.json] == [
        (number, text, rank)
        for number, text in enumerate(["melanoma", "pneumothorax", "train timetable"], start=1)
        for rank in (1, 2)
    ]
    alone = ask("pneumothorax", "--top-k", 2, "--json").json
    assert [hit["image_id"] for hit in outcome.json[2:4]] == [hit["image_id"] for hit in alone]
    assert [json.loads(line)["matches"] for line in outcome.err] == [True, True, False]
    people = ask("--queries", file, "--top-k", 1)
    assert people.out[0] == "1. melanoma"
    assert people.out[3:5] == ["", "2. pneumothorax"]
    assert people.err[0].startswith("3. Nothing stands out")
    (tmp_path / "empty").write_text("\n \n")
    for arguments, problem in (
        (["--queries", tmp_path / "empty"], "no query in it"),
        (["--queries", tmp_path / "none"], "cannot be read: No such file"),
        (["x", "--queries", file], "takes the place of TEXT"),
    ):
        assert problem in one_error(ask(*arguments))


def test_the_text_counts_as_much_as_it_is_said_to(ask) -> None:
    (best,) = ask("melanoma", "--top-k", 1, "--json").json
    like = ("--like", best["image_id"], "--json", "--top-k", 1)
    assert ask("hydrocephalus", *like, "--text-weight", 9).json[0]["findings"] == "hydrocephalus"
    assert ask("hydrocephalus", *like, "--text-weight", 0.1).json[0]["findings"] == "melanoma"
    assert "a weight is 0" in one_error(ask("x", "--like", 1, "--text-weight", 0))


def test_an_option_without_effect_is_refused(ask, demo: Path) -> None:
    file = next((demo / "archive").rglob("*.dcm"))
    for arguments, problem in (
        (["--like", 1, "--as-written"], "--as-written is about TEXT"),
        (["x", "--as-case"], "--as-case is about --image files"),
        (["--study", "x", "--as-case"], "--as-case is about --image files"),
        (["--like", 1, "--text-weight", 2], "--text-weight is of TEXT beside"),
        (["x", "--text-weight", 2], "--text-weight is of TEXT beside"),
        (["x", "--other-patients"], "are about the patient of --image, --like or --study"),
        (["x", "--any-patient"], "are about the patient of --image, --like or --study"),
        (["effusion", "--without", "Effusion"], "'effusion' is to be there, and to be absent"),
    ):
        outcome = ask(*arguments)
        assert outcome.code == 2
        assert problem in one_error(outcome)
    for arguments in (
        ["no effusion", "--as-written", "--image", file, "--text-weight", 2, "--other-patients"],
        ["--image", file, "--as-case"],
    ):
        assert ask(*arguments, "--json", "--top-k", 1).code == 0


def test_a_kind_of_index_can_be_chosen(ask) -> None:
    hits = ask("nevus", "--json").json
    assert ask("nevus", "--json", "--index", "int8", "--recall", 0.99).json == hits


def test_more_bad_input_is_one_line_that_says_what_to_do(ask) -> None:
    for arguments, problem in (
        (["--study", "nowhere"], "no study 'nowhere' in the gallery; take one from a hit"),
        (["x", "--min-relevance", math.nan], "min_relevance is nan"),
        (["x", "--without", " "], "the text is empty"),
        (["x", "--recall", 1.5], "a recall of 1.5"),
        (["x", "--index", "fast"], "'fast' is not one of"),
        (["x", "--group-by", "sex"], "'sex' is not one of"),
    ):
        outcome = ask(*arguments)
        assert outcome.code == 2
        assert problem in one_error(outcome)
    assert ask("word " * 10_000, "--top-k", 1, "--json").code == 0
