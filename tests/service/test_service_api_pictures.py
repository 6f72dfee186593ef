"""Over HTTP: what a picture's window may be, an image's labels, and the heat map as a layer."""

import numpy as np
import pytest
from serving import Served
from viewing import images_of, pixels

from medsiglip_search.explain.heatmap import layer
from medsiglip_search.labels.classifier import zero_shot
from medsiglip_search.labels.labeller import DECISIONS, Labeller
from medsiglip_search.labels.shipped import shipped_label_set
from medsiglip_search.service.callers import Caller, Principal
from medsiglip_search.service.operations import pictures

CALLER = Caller(Principal("tester", "reader"), "127.0.0.1", "test")


def test_values_tell_what_a_window_can_show(served: Served) -> None:
    with served.client() as client:
        told = {
            modality: client.get(
                f"/v1/galleries/demo/images/{images_of(served, f'modality = {modality!r}')[0]}/values"
            ).json()["values"]
            for modality in ("CT", "CR", "DMS")
        }
    assert told["CT"]["unit"] == "HU"
    assert told["CT"]["low"] < -900
    assert told["CT"]["high"] > 500
    assert told["CR"]["unit"] is None
    assert 0 <= told["CR"]["low"] < told["CR"]["high"]
    assert told["DMS"] is None


def test_a_heat_map_comes_as_a_layer_without_the_picture(served: Served) -> None:
    image = images_of(served, "modality = 'CR'")[0]
    _, heat = pictures.heat(served.service, CALLER, "demo", image, "pacemaker")
    with served.client() as client:
        answer = client.post(
            f"/v1/galleries/demo/images/{image}/heatmap", json={"text": "pacemaker", "form": "layer"}
        )
    np.testing.assert_array_equal(pixels(answer.content), layer(heat))
    assert answer.headers["X-Hottest"] == "{},{}".format(*heat.hottest)


def test_a_heat_map_is_of_the_frame_that_is_asked_for(served: Served) -> None:
    gallery = served.service.galleries["demo"].view.gallery
    second = next(one for one in gallery.instances(gallery.select("modality = 'CT'")) if one.frame == 1)
    of_second = pictures.heat(served.service, CALLER, "demo", second.image_id, "skull")[1]
    of_first = pictures.heat(served.service, CALLER, "demo", second.image_id, "skull", frame=0)[1]
    with served.client() as client:
        place = f"/v1/galleries/demo/images/{second.image_id}/heatmap"
        asked = {"text": "skull", "form": "layer"}
        answers = [client.post(place, json={**asked, "frame": frame}) for frame in (0, 1, 10**6)]
    np.testing.assert_array_equal(pixels(answers[0].content), layer(of_first))
    np.testing.assert_array_equal(pixels(answers[1].content), layer(of_second))
    assert (of_first.values != of_second.values).any()
    assert answers[2].status_code == 422


@pytest.mark.parametrize("label_set", ["modality", "demo-findings"])
def test_labels_are_the_labellers_own_the_likeliest_first(served: Served, label_set: str) -> None:
    image = images_of(served, "modality = 'OP'")[0]
    searcher = served.service.galleries["demo"].view.searcher
    labeller = Labeller(zero_shot(shipped_label_set(label_set), searcher.encoder))
    labelled = labeller.label(searcher.gallery.embeddings_of([image]))
    with served.client() as client:
        told = client.get(f"/v1/galleries/demo/images/{image}/labels", params={"label_set": label_set}).json()
    scored = {one["label"]: one for one in told["scored"]["labels"]}
    assert list(scored) == sorted(scored, key=lambda label: -scored[label]["probability"])
    for place, label in enumerate(labeller.classifier.labels):
        assert scored[label]["score"] == pytest.approx(float(labelled.scores[0, place]), abs=1e-6)
        assert scored[label]["probability"] == pytest.approx(float(labelled.best[0, place]), abs=1e-6)
        assert scored[label]["decision"] == DECISIONS[labelled.decisions[0, place]]
    assert told["decided"] == {}


def test_the_texts_of_a_label_set_are_embedded_once(served: Served) -> None:
    searcher = served.service.galleries["demo"].view.searcher
    classifiers = served.service.classifiers
    first = classifiers.of(shipped_label_set("modality"), searcher)
    assert classifiers.of(shipped_label_set("modality"), searcher) is first
    assert classifiers.of(shipped_label_set("body-part"), searcher) is not first


def test_what_is_not_there_is_told_without_what_was_sent(served: Served) -> None:
    with served.client() as client:
        unknown_set = client.get(
            "/v1/galleries/demo/images/1/labels", params={"label_set": "Wiesenthal /etc/passwd"}
        )
        unknown_image = client.get(f"/v1/galleries/demo/images/{10**30}/values")
    assert (unknown_set.status_code, unknown_image.status_code) == (422, 404)
    assert "Wiesenthal" not in unknown_set.text
    assert "passwd" not in unknown_set.text


def test_the_others_of_a_study_are_spread_evenly_and_without_the_image(served: Served) -> None:
    gallery = served.service.galleries["demo"].view.gallery
    by_study: dict[str | None, list[int]] = {}
    for one in gallery.instances(gallery.select("modality = 'CT'")):
        by_study.setdefault(one.attributes.study, []).append(one.image_id)
    images = next(images for images in by_study.values() if len(images) >= 3)
    others = pictures.study(served.service, CALLER, "demo", images[0], 24)
    assert {one["image_id"] for one in others} == set(images[1:])
    assert len(pictures.study(served.service, CALLER, "demo", images[0], 1)) == 1
