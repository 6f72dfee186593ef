"""Whether anything in a gallery answers, told by the demo encoder on pictures that are drawn here."""

import numpy as np
import pytest
from by_hand import ByHand
from galleries import gallery_of, unit

from medsiglip_search.demo.cases import draw_study, labels_of, plan, render
from medsiglip_search.encoders import load_encoder
from medsiglip_search.gallery import Gallery
from medsiglip_search.index import open_index
from medsiglip_search.querying.relevance import MATCH, Background
from medsiglip_search.records import Attributes, GalleryMeta, Instance
from medsiglip_search.search import Searcher

SEED, IMAGES = 77, 160


@pytest.fixture(scope="module")
def drawn():
    """Pictures of a synthetic archive: their embeddings, and what each shows."""
    encoder = load_encoder("demo", "cpu")
    pictures, instances = [], []
    for study in plan(SEED, IMAGES):
        for drawing in draw_study(study):
            number = len(pictures)
            pictures.append(render(study.modality.code, drawing.values))
            about = Attributes(
                modality=study.modality.code, patient=str(study.patient), study=str(study.study)
            )
            findings = {"findings": ";".join(labels_of(study.signs))}
            instances.append(Instance(0, "/a", str(number), 0, "", "", 1, 1, 1, 1, about, (), findings))
    return encoder, encoder.embed_images(pictures), instances


def searcher_of(path, drawn, keep=lambda findings: True):
    encoder, embeddings, instances = drawn
    kept = [n for n, one in enumerate(instances) if keep(str(one.sidecar["findings"]))]
    meta = GalleryMeta("demo", "local", encoder.weights_digest, encoder.dim, encoder.spec)
    gallery = Gallery.create(path, meta)
    with gallery.writer() as writer:
        writer.commit([instances[n] for n in kept], [b""] * len(kept), embeddings[kept], [])
    return Searcher(gallery, encoder, open_index(gallery))


@pytest.fixture(scope="module")
def searcher(tmp_path_factory, drawn):
    return searcher_of(tmp_path_factory.mktemp("relevance") / "g", drawn)


@pytest.mark.parametrize("finding", ["pleural effusion", "hydrocephalus", "laser scars", "nevus", "necrosis"])
def test_a_finding_matches_where_the_gallery_has_it_and_not_where_it_was_taken_out(
    tmp_path, drawn, searcher, finding
):
    poorer = searcher_of(tmp_path / "g", drawn, lambda findings: finding not in findings)
    assert len(poorer.gallery) < IMAGES
    found, missed = searcher.search(finding), poorer.search(finding)
    assert (found.matches, missed.matches) == (True, False)
    assert found[0].relevance > MATCH > missed[0].relevance
    assert list(poorer.search(finding, min_relevance=MATCH)) == []


def test_what_is_said_to_be_absent_is(searcher):
    plain = searcher.search("right pleural effusion", top_k=5)
    assert any("effusion" in str(hit.instance.sidecar["findings"]) for hit in plain)
    hits = searcher.search("chest radiograph without pleural effusion", top_k=20)
    assert [hit.instance.attributes.modality for hit in hits] == ["CR"] * 20
    assert not any("effusion" in str(hit.instance.sidecar["findings"]) for hit in hits)
    hits = searcher.search("no pneumothorax", top_k=20)
    assert [hit.instance.attributes.modality for hit in hits] == ["CR"] * 20
    assert not any("pneumothorax" in str(hit.instance.sidecar["findings"]) for hit in hits)


def test_a_normal_picture_is_found_by_what_is_said_of_it(searcher):
    hits = searcher.search("no acute cardiopulmonary process", top_k=3)
    about = [(hit.instance.attributes.modality, hit.instance.sidecar["findings"]) for hit in hits]
    assert about == [("CR", "")] * 3
    assert hits.notes == ()


def test_cases_like_a_study_share_what_it_shows(searcher):
    first = searcher.search("melanoma", top_k=1)[0].instance.attributes
    hits = searcher.search(study=first.study, top_k=2)
    assert ["melanoma" in str(hit.instance.sidecar["findings"]) for hit in hits] == [True] * 2
    assert first.patient not in [hit.instance.attributes.patient for hit in hits]
    assert hits.matches


def test_the_best_of_a_million_scores_that_are_noise_is_no_match():
    scores = np.random.default_rng(0).standard_normal(1_000_000) * 0.05 + 0.3
    assert Background(0.3, 0.05).relevance(scores).max() < 0.75 * MATCH


def test_a_gallery_of_a_few_images_cannot_tell_and_does_not_warn(tmp_path):
    rows = unit(np.random.default_rng(0).standard_normal((29, 3)))
    few = gallery_of(tmp_path / "few", rows)
    assert Searcher(few, ByHand(), open_index(few)).search("1 0 0").matches
    enough = gallery_of(tmp_path / "enough", [*rows, [0, 0, 1]])
    assert not Searcher(enough, ByHand(), open_index(enough)).search("1 0 0").matches


def test_a_query_of_what_is_absent_alone_is_answered_by_whatever_is_left(tmp_path):
    gallery = gallery_of(tmp_path / "g", unit(np.random.default_rng(0).standard_normal((60, 3))))
    result = Searcher(gallery, ByHand(), open_index(gallery)).search("no 0 1 0")
    assert result[0].relevance < MATCH
    assert result.matches
