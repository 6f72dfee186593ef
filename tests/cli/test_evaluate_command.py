"""What a user of the evaluate command sees, on galleries made by hand and one of the demo's pictures."""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
from command_line import Outcome, Run, one_error
from galleries import instance, meta, unit
from ir_measures import AP, P, Qrel, R, ScoredDoc, nDCG
from sklearn.metrics import average_precision_score, f1_score, recall_score, roc_auc_score

from medsiglip_search.cli import main
from medsiglip_search.encoders import load_encoder
from medsiglip_search.gallery import Gallery
from medsiglip_search.labels.calibration import FittedOn
from medsiglip_search.labels.probe import Probe, ProbeInfo, write_probe
from medsiglip_search.records import PreprocessSpec

EQUAL = {"rel": 0, "abs": 1e-9}
COUNT, DIM = 40, 4
LABELS = ("effusion", "nodule")
FITTED_ON = FittedOn("truth.csv", "ef" * 32, 10, 5, {}, "2026-01-01T00:00:00+00:00")


def embeddings(seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((COUNT, DIM)))


def make_gallery(
    path: Path,
    rows: np.ndarray,
    uris: Sequence[str] = (),
    encoder: str = "by-hand",
    spec: PreprocessSpec | None = None,
) -> Path:
    made = replace(meta(), dim=DIM, encoder=encoder, **({} if spec is None else {"spec": spec}))
    uris = uris or [f"p{number // 2}/{number}.png" for number in range(len(rows))]
    with Gallery.create(path, made).writer() as writer:
        writer.commit([instance(uri) for uri in uris], [b""] * len(uris), rows, [])
    return path


def make_probe(path: Path, seed: int = 0, labels: Sequence[str] = LABELS) -> np.ndarray:
    """Write a probe whose weights, (L, D), are returned."""
    weights = np.random.default_rng(seed + 100).standard_normal((len(labels), DIM)).astype(np.float32)
    info = ProbeInfo(
        name=path.stem,
        mode="findings",
        labels=tuple(labels),
        encoder="by-hand",
        weights_digest=meta().weights_digest,
        spec=meta().spec,
        fitted_on=FITTED_ON,
        shots=None,
        strength=1.0,
        auc={},
    )
    write_probe(Probe(info, weights, np.zeros(len(labels), np.float32)), path)
    return weights


def said(seed: int = 7) -> np.ndarray:
    return (np.random.default_rng(seed).random((COUNT, 2)) < (0.3, 0.5)).astype(int)


def write_table(path: Path, shown: np.ndarray, labels: Sequence[str] = LABELS, more: str = "") -> Path:
    rows = [
        f"p{number // 2}/{number}.png,p{number // 2},{','.join(map(str, row))}"
        for number, row in enumerate(shown)
    ]
    path.write_text("\n".join(["path,patient," + ",".join(labels), *rows]) + "\n" + more)
    return path


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with a gallery, a probe and a truth table."""
    make_gallery(tmp_path / "gallery", embeddings())
    make_probe(tmp_path / "probe.safetensors")
    write_table(tmp_path / "truth.csv", said())
    return tmp_path


def lines(outcome: Outcome, what: str, **are: Any) -> list[dict[str, Any]]:
    assert outcome.code == 0, outcome.err
    found = [line for line in outcome.json if line["what"] == what]
    return [line for line in found if all(line[name] == value for name, value in are.items())]


def test_a_probes_figures_are_those_of_scikit_learn(run: Run, made: Path) -> None:
    probe = made / "probe.safetensors"
    outcome = run("evaluate", made / "gallery", made / "truth.csv", "--labels", probe, "--json")
    stored = Gallery.open(made / "gallery").embeddings()[1].astype(np.float32)
    scores = stored @ make_probe(probe).T
    assert not lines(outcome, "by_text")  # a probe has no words
    for column, label in enumerate(LABELS):
        (line,) = lines(outcome, "labels", label=label)
        shown, decided = said()[:, column], scores[:, column] >= 0
        expected = {
            "auc": roc_auc_score(shown, scores[:, column]),
            "average_precision": average_precision_score(shown, scores[:, column]),
            "f1": f1_score(shown, decided),
            "sensitivity": recall_score(shown, decided),
            "specificity": recall_score(shown, decided, pos_label=0),
        }
        assert {name: line[name]["value"] for name in expected} == pytest.approx(expected, **EQUAL)
        assert (line["images"], line["present"], line["patients"]) == (COUNT, shown.sum(), COUNT // 2)
        assert line["auc"]["low"] < line["auc"]["value"] < line["auc"]["high"]
        assert line["auc"]["resamples"] == 1000
        assert (line["gallery"], line["labels"], line["difference"]) == ("gallery", "probe", None)


def test_without_labels_search_by_image_is_evaluated(run: Run, made: Path) -> None:
    outcome = run("evaluate", made / "gallery", made / "truth.csv", "--top-k", 3, "--resamples", 0, "--json")
    assert {line["what"] for line in outcome.json} == {"by_image"}
    stored = Gallery.open(made / "gallery").embeddings()[1].astype(np.float32)
    scores, patients = stored @ stored.T, np.arange(COUNT) // 2
    measures = (P @ 3, R @ 3, AP, nDCG)
    for column, label in enumerate(LABELS):
        shown = said()[:, column]
        qrels, ranked = [], []
        for query in np.flatnonzero(shown):
            for place in np.flatnonzero(patients != patients[query]):
                qrels.append(Qrel(str(query), str(place), int(shown[place])))
                ranked.append(ScoredDoc(str(query), str(place), float(scores[query, place])))
        expected = ir_measures.calc_aggregate(measures, qrels, ranked)
        (line,) = lines(outcome, "by_image", label=label)
        names = ("precision_at_k", "recall_at_k", "average_precision", "ndcg")
        assert [line[name]["value"] for name in names] == pytest.approx(
            [expected[measure] for measure in measures], **EQUAL
        )
        assert line["ndcg"]["low"] is None  # no resamples were asked for


def test_what_is_undefined_is_null_and_says_why(run: Run, made: Path) -> None:
    shown = said()
    shown[:, 1] = 1
    table = write_table(made / "all.csv", shown)
    probe = made / "probe.safetensors"
    outcome = run("evaluate", made / "gallery", table, "--labels", probe, "--resamples", 20, "--json")
    (line,) = lines(outcome, "labels", label="nodule")
    assert line["auc"] == {"value": None, "low": None, "high": None, "resamples": 0}
    assert line["undefined"] == f"all {COUNT} images show it"
    printed = run("evaluate", made / "gallery", table, "--labels", probe, "--resamples", 20)
    nodule = next(line for line in printed.out if line.startswith("nodule"))
    assert re.split(r"\s{2,}", nodule)[:3] == ["nodule", str(COUNT), "undefined"]
    assert f"Undefined: nodule: all {COUNT} images show it" in printed.err


def test_unknown_files_are_counted_and_the_first_ten_are_listed(run: Run, made: Path) -> None:
    gone = "".join(f"gone/{number}.png,x,0,1\n" for number in range(13))
    table = write_table(made / "more.csv", said(), more=gone)
    outcome = run("evaluate", made / "gallery", table, "--resamples", 5)
    (note,) = [line for line in outcome.err if "name no image" in line]
    assert note.startswith(f"13 of {COUNT + 13} rows name no image of the gallery: gone/0.png, ")
    assert note.endswith("gone/9.png and 3 more")


def test_people_read_a_table_with_intervals(run: Run, made: Path) -> None:
    outcome = run(
        "evaluate", made / "gallery", made / "truth.csv", "--labels", made / "probe.safetensors", "--top-k", 3
    )
    assert outcome.out[0] == "Labels"
    assert outcome.out[1].split() == ["present", "AUC", "AP", "F1", "sensitivity", "specificity", "ECE"]
    assert re.fullmatch(r"effusion +\d+ +0\.\d{3} \(\.\d{3}-\.\d{3}\) +.*", outcome.out[2])
    assert "P@3" in outcome.out[outcome.out.index("Search by an image, for those of other patients") + 1]
    assert outcome.err[-1] == "For a page with plots, and all of this as JSON, pass --out FOLDER."


def test_galleries_are_compared_on_the_images_that_all_have(run: Run, made: Path) -> None:
    # The other gallery has its images in another order, and five of them not at all.
    order = np.random.default_rng(1).permutation(COUNT)[:-5]
    rows = embeddings(seed=3)
    uris = [f"p{number // 2}/{number}.png" for number in order]
    make_gallery(made / "other", rows[order], uris)
    probe = made / "probe.safetensors"
    outcome = run(
        "evaluate", made / "gallery", made / "other", made / "truth.csv", "--labels", probe, "--json"
    )
    left_out = "5 images are not in all of the galleries, or not in the table for all: left out"
    assert left_out in outcome.err
    common = np.sort(order)
    stored = [embeddings()[common], rows[common]]
    weights = make_probe(probe)
    for column, label in enumerate(LABELS):
        first, second = lines(outcome, "labels", label=label)
        aucs = [
            roc_auc_score(said()[common, column], (each.astype(np.float16) @ weights.T)[:, column])
            for each in stored
        ]
        assert [first["gallery"], second["gallery"]] == ["gallery", "other"]
        assert [first["auc"]["value"], second["auc"]["value"]] == pytest.approx(aucs, abs=1e-3)
        difference = second["difference"]["auc"]
        assert difference["value"] == pytest.approx(second["auc"]["value"] - first["auc"]["value"])
        assert difference["low"] < difference["value"] < difference["high"]
        assert first["images"] == second["images"] == COUNT - 5
    images = lines(outcome, "by_image", label=None)
    assert [line["gallery"] for line in images] == ["gallery", "other"]
    assert images[1]["difference"]["ndcg"]["value"] == pytest.approx(
        images[1]["ndcg"]["value"] - images[0]["ndcg"]["value"]
    )


def test_a_gallery_differs_from_its_copy_by_nothing(run: Run, made: Path) -> None:
    order = np.arange(COUNT)[::-1]
    uris = [f"p{number // 2}/{number}.png" for number in order]
    make_gallery(made / "copy", embeddings()[order], uris)
    probe = made / "probe.safetensors"
    outcome = run(
        "evaluate", made / "gallery", made / "copy", made / "truth.csv", "--labels", probe, "--json"
    )
    compared = [line for line in outcome.json if line["difference"]]
    assert {line["what"] for line in compared} == {"labels", "by_image"}
    for line in compared:
        for figure in line["difference"].values():
            assert (figure["value"], figure["low"], figure["high"]) == pytest.approx((0, 0, 0), abs=1e-6)


def test_sources_of_labels_are_compared_on_one_gallery(run: Run, made: Path) -> None:
    make_probe(made / "better.safetensors", seed=5)
    arguments = ["--labels", made / "probe.safetensors", "--labels", made / "better.safetensors"]
    outcome = run("evaluate", made / "gallery", made / "truth.csv", *arguments, "--json")
    first, second = lines(outcome, "labels", label="nodule")
    assert [first["labels"], second["labels"]] == ["probe", "better"]
    assert second["difference"]["auc"]["value"] == pytest.approx(
        second["auc"]["value"] - first["auc"]["value"]
    )
    assert len(lines(outcome, "by_image", label="nodule")) == 1  # search by image needs no labels
    printed = run("evaluate", made / "gallery", made / "truth.csv", *arguments)
    start = printed.out.index("Labels")
    assert [line.split()[:2] for line in printed.out[start + 2 : start + 4]] == [
        ["effusion", "probe"],
        ["effusion", "better"],
    ]
    assert printed.out[start + 4].strip().startswith("less the first")


def test_means_over_other_labels_are_not_compared(run: Run, made: Path) -> None:
    make_probe(made / "one.safetensors", labels=LABELS[:1])
    arguments = ["--labels", made / "probe.safetensors", "--labels", made / "one.safetensors"]
    outcome = run("evaluate", made / "gallery", made / "truth.csv", *arguments, "--json")
    _, mean_of_one = lines(outcome, "labels", label=None)
    assert mean_of_one["labels"] == "one"
    assert mean_of_one["difference"] is None
    assert lines(outcome, "labels", label=LABELS[0])[1]["difference"] is not None


def test_a_probe_is_used_on_the_gallery_it_was_trained_on(run: Run, made: Path) -> None:
    make_gallery(made / "wide", embeddings(), spec=PreprocessSpec(size=2, fit="stretch"))
    arguments = ["evaluate", made / "gallery", made / "wide", made / "truth.csv"]
    error = one_error(run(*arguments, "--labels", made / "probe.safetensors"))
    assert "prepared in another way" in error


def test_a_report_is_one_page_that_asks_for_nothing_and_json_without_nan(run: Run, made: Path) -> None:
    labels = ("<script>alert(1)</script>", "nodule")
    shown = said()
    shown[:, 1] = 0
    table = write_table(made / "odd.csv", shown, labels)
    make_probe(made / "odd.safetensors", labels=labels)
    out = made / "report"
    outcome = run(
        "evaluate", made / "gallery", table, "--labels", made / "odd.safetensors", "--out", out, "--top-k", 3
    )
    assert outcome.code == 0
    page = (out / "report.html").read_text("utf-8")
    assert not re.search(r"<script|<link|<iframe|@import|(?:src|href)=[\"'](?!#|data:)", page)
    assert not re.search(r"url\((?!#)", page)
    assert page.count("<svg") == 1 + len(labels)  # the intervals, and the curves of each label
    assert "not a medical device" in page
    assert f"none of {COUNT} images shows it" in page
    report = json.loads((out / "report.json").read_text(), parse_constant=pytest.fail)
    assert report["truth"]["file"] == "odd.csv"
    assert (report["images"], report["patients"]) == (COUNT, COUNT // 2)
    assert report["settings"] == {
        "retrieval": True,
        "top_k": 3,
        "resamples": 1000,
        "seed": 0,
        "max_queries": 2000,
    }
    (line,) = [line for line in report["figures"] if (line["what"], line["label"]) == ("labels", labels[0])]
    assert f"{line['auc']['value']:.3f}" in page
    assert report["labels"][0]["curves"][1]["true_positive_rate"] is None
    assert report["labels"][0]["curves"][0]["true_positive_rate"][-1] == 1
    assert sum(report["labels"][0]["curves"][0]["reliability"]["images"]) == COUNT


def test_a_report_is_not_overwritten_unless_asked_for(run: Run, made: Path) -> None:
    arguments = ["evaluate", made / "gallery", made / "truth.csv", "--resamples", 5, "--out", made / "report"]
    assert run(*arguments).code == 0
    assert "--overwrite" in one_error(run(*arguments))
    assert run(*arguments, "--overwrite").code == 0


def test_figures_of_medsiglip_on_its_training_data_are_warned_of(run: Run, tmp_path: Path) -> None:
    uris = [f"files/p10/p100000{n:02d}/s504142{n:02d}/{n}.jpg" for n in range(COUNT)]
    made = make_gallery(tmp_path / "gallery", embeddings(), uris, encoder="google/medsiglip-448")
    table = tmp_path / "truth.csv"
    rows = [f"{uri},{number % 2}" for number, uri in enumerate(uris)]
    table.write_text("\n".join(["path,edema", *rows]))
    out = tmp_path / "report"
    outcome = run("evaluate", made, table, "--patient", r"p\d{8}", "--resamples", 5, "--out", out)
    (warning,) = [line for line in outcome.err if line.startswith("Warning: ")]
    assert "look like MIMIC-CXR, which MedSigLIP was trained on" in warning
    assert json.loads((out / "report.json").read_text())["warnings"] == [warning.removeprefix("Warning: ")]
    assert "look like MIMIC-CXR" in (out / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["truth.csv"], "give galleries, and then the table"),
        (["gallery", "truth.csv", "--no-retrieval"], "leaves nothing to evaluate"),
        (["gallery", "truth.csv", "--calibration", "x.json"], "--calibration is of --labels"),
        (["gallery", "gallery", "truth.csv", "--encoder", "demo"], "--encoder is of one gallery"),
        (["gallery", "./gallery", "truth.csv"], "the same gallery is given twice"),
        (
            ["gallery", "truth.csv", "--labels", "probe.safetensors", "--labels", "probe.safetensors"],
            "the same source of --labels is given twice",
        ),
        (["gallery", "absent.csv"], "absent.csv: cannot be read"),
        (["gallery", "truth.csv", "--labels", "no-such-set"], "no such label set"),
        (["gallery", "truth.csv", "--out", "truth.csv"], "is no folder"),
    ],
)
def test_what_cannot_be_answered_is_one_clear_error(
    run: Run, made: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(made)
    outcome = run("evaluate", *arguments)
    assert outcome.code == 2
    assert said in one_error(outcome)


def test_galleries_of_other_files_have_nothing_to_compare(run: Run, made: Path) -> None:
    make_gallery(made / "other", embeddings()[:2], ["p0/0.png", "p0/other.png"])
    table = made / "two.csv"
    table.write_text("path,effusion\np0/1.png,1\np0/other.png,0\n")
    error = one_error(run("evaluate", made / "gallery", made / "other", table))
    assert "names no image that all galleries have" in error


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a synthetic archive, its gallery and its truth table."""
    out = tmp_path_factory.mktemp("demo") / "out"
    for command in (
        ["demo", "--archive-only", "--out", str(out), "--seed", "5", "--images", "120"],
        ["index", str(out / "gallery"), str(out / "archive"), "--encoder", "demo"],
    ):
        with pytest.raises(SystemExit, match="0"):
            main(command)
    return out


def test_zero_shot_labels_and_their_words_are_evaluated(run: Run, demo: Path, tmp_path: Path) -> None:
    label_set = tmp_path / "chest.yaml"
    label_set.write_text(
        "mode: findings\nlabels:\n"
        "  pleural effusion: {present: [pleural effusion, pleural fluid], absent: [head CT]}\n"
        "  no such thing: {present: [a], absent: [b]}\n"
    )
    outcome = run("evaluate", demo / "gallery", demo / "truth.csv", "--labels", label_set, "--json")
    assert any("no column for 1 of its 2 labels: no such thing" in line for line in outcome.err)
    gallery, encoder = Gallery.open(demo / "gallery"), load_encoder("demo")
    image_ids, stored = gallery.embeddings()
    texts = encoder.embed_texts(["pleural effusion", "pleural fluid", "head CT"])
    words = unit([texts[:2].mean(axis=0)])[0]
    with (demo / "truth.csv").open() as file:
        truth = {row["path"]: int(row["pleural effusion"]) for row in csv.DictReader(file)}
    shown = np.array([truth[one.uri] for one in gallery.instances(image_ids)])
    scores, found = (stored.astype(np.float32) @ each for each in (words - texts[2], words))
    (line,) = lines(outcome, "labels", label="pleural effusion")
    assert line["auc"]["value"] == pytest.approx(roc_auc_score(shown, scores), **EQUAL)
    assert line["sensitivity"]["value"] == pytest.approx(recall_score(shown, scores >= 0), **EQUAL)
    (line,) = lines(outcome, "by_text", label="pleural effusion")
    assert line["average_precision"]["value"] == pytest.approx(average_precision_score(shown, found), **EQUAL)
