"""Maps: where images lie, in which colours, and which of them lie in an area."""

import json
from pathlib import Path

import numpy as np
import pytest
from serving import Served
from sklearn.decomposition import PCA

from medsiglip_search.errors import InvalidQuery, TooLarge
from medsiglip_search.gallery import Gallery
from medsiglip_search.service.audit.reading import records
from medsiglip_search.service.callers import Caller, Principal
from medsiglip_search.service.colouring import LAST_STEP, MOST_COLOURS, NOTHING, OTHER, colouring
from medsiglip_search.service.mapping import Area, Maps, Projection, has_umap, pca
from medsiglip_search.service.operations import mapping, searching

LOCAL = Caller(Principal("local", "admin"), "127.0.0.1", "test")


@pytest.fixture(scope="module")
def gallery(demo_gallery: Path) -> Gallery:
    return Gallery.open(demo_gallery)


def test_pca_is_scikit_learns_up_to_the_sign(gallery: Gallery):
    ids, embeddings = gallery.embeddings()
    expected = PCA(2, svd_solver="full").fit_transform(embeddings.astype(np.float64))
    found = pca(gallery)
    assert found.image_ids.tolist() == ids.tolist()
    for axis in (0, 1):
        sign = np.sign(found.places[:, axis] @ expected[:, axis])
        np.testing.assert_allclose(found.places[:, axis], sign * expected[:, axis], atol=2e-5)


def test_the_signs_of_pca_are_always_the_same(gallery: Gallery):
    np.testing.assert_array_equal(pca(gallery).places, pca(gallery).places)
    embeddings = gallery.embeddings()[1].astype(np.float64)
    found = pca(gallery).places
    axes = np.linalg.lstsq(embeddings - embeddings.mean(axis=0), found, rcond=None)[0]
    assert (axes[np.abs(axes).argmax(axis=0), [0, 1]] > 0).all()


def test_a_projection_is_made_once_for_a_version(served: Served):
    maps = served.service.galleries["demo"].view.maps
    assert maps.projection("pca") is maps.projection("pca")


@pytest.mark.parametrize("count", [0, 1])
def test_a_gallery_without_directions_has_a_map(count: int):
    places = np.zeros((count, 2), np.float32)
    assert Projection("pca", np.arange(count), places).unit().tolist() == [[0.0, 0.0]] * count


def test_a_rectangle_holds_what_numpys_mask_holds():
    places = np.random.default_rng(3).random((5_000, 2), np.float32)
    x, y = places.T
    expected = (
        (x >= np.float32(0.2)) & (x <= np.float32(0.5)) & (y >= np.float32(0.1)) & (y <= np.float32(0.9))
    )
    assert 0 < expected.sum() < 5_000
    np.testing.assert_array_equal(Area(((0.5, 0.1), (0.2, 0.9))).holds(places), expected)


def test_a_lasso_holds_what_is_inside_of_it():
    places = np.array([[0.5, 0.2], [0.1, 0.9], [0.5, 0.9], [0.9, 0.2]], np.float32)
    triangle = Area(((0.0, 0.0), (1.0, 0.0), (0.5, 1.0)))
    assert triangle.holds(places).tolist() == [True, False, True, True]


@pytest.mark.parametrize("points", [(), ((0.1, 0.2),), ((0.1, 0.2), (float("nan"), 1.0))])
def test_an_area_that_encloses_nothing_is_refused(points: tuple[tuple[float, float], ...]):
    with pytest.raises(InvalidQuery, match="two corners"):
        Area(points)


def test_a_large_gallery_is_drawn_by_the_same_sample_each_time():
    large = Projection("pca", np.arange(60_000), np.zeros((60_000, 2), np.float32))
    drawn = large.sample(50_000)
    assert (len(set(drawn.tolist())), drawn.tolist() == sorted(drawn)) == (50_000, True)
    assert drawn.tolist() == large.sample(50_000).tolist()
    assert Projection("pca", np.arange(3), np.zeros((3, 2), np.float32)).sample(50_000).tolist() == [0, 1, 2]


def test_words_have_colours_by_their_count_and_the_rest_is_other(gallery: Gallery):
    coloured = colouring(gallery, "study")
    cells = [cell for (batch,) in gallery.cell_batches("study") for cell in batch]
    assert coloured.ramp is None
    assert sum(entry.count for entry in coloured.legend) == len(gallery)
    for entry in coloured.legend[:MOST_COLOURS]:
        at = [place for place, cell in enumerate(cells) if cell == entry.label]
        assert (len(at), set(coloured.codes[at].tolist())) == (entry.count, {entry.code})
    codes = [entry.code for entry in coloured.legend]
    assert codes[: MOST_COLOURS + 1] == [*range(MOST_COLOURS), OTHER]


def test_numbers_are_a_ramp(gallery: Gallery):
    coloured = colouring(gallery, "year")
    years = [year for (batch,) in gallery.cell_batches("year") for year in batch]
    known = [year for year in years if year is not None]
    assert coloured.ramp == (min(known), max(known))
    at = years.index(max(known)), years.index(min(known))
    assert coloured.codes[list(at)].tolist() == [LAST_STEP, 0]
    assert (coloured.codes == NOTHING).sum() == years.count(None)


def test_a_selection_counts_all_images_and_leads_to_a_search_in_them(served: Served):
    view = served.service.galleries["demo"].view
    unit = view.maps.projection("pca").unit()
    area = Area(((0.0, 0.0), (0.6, 0.7)))
    ids = mapping.selected(served.service, LOCAL, "demo", area)
    expected = view.gallery.select(None)[(unit <= np.array([0.6, 0.7], np.float32)).all(axis=1)]
    assert ids.tolist() == expected.tolist()
    assert 0 < len(ids) < len(view.gallery)
    link = served.service.links.get("none:local", mapping.search_in(served.service, LOCAL, "demo", ids))
    condition = searching.condition_of(served.service, served.service.galleries["demo"], link.asked)
    assert view.gallery.select(condition).tolist() == ids.tolist()


def test_what_the_legend_leaves_out_is_not_selected(served: Served):
    view = served.service.galleries["demo"].view
    coloured = view.maps.colouring("modality")
    first = coloured.legend[0]
    ids = mapping.selected(served.service, LOCAL, "demo", None, colour="modality", without={first.code})
    expected = view.gallery.select(f"modality != '{first.label}' OR modality IS NULL")
    assert ids.tolist() == expected.tolist()


def test_no_image_and_too_many_cannot_be_searched_in(served: Served):
    with pytest.raises(InvalidQuery, match="no image"):
        mapping.search_in(served.service, LOCAL, "demo", np.empty(0, np.int64))
    with pytest.raises(TooLarge, match="50,000"):
        mapping.search_in(served.service, LOCAL, "demo", np.arange(50_001))


def test_twenty_thousand_ids_are_a_filter(served: Served):
    view = served.service.galleries["demo"].view
    known = view.gallery.select(None)[:30]
    ids = np.concatenate([known, np.arange(10**6, 10**6 + 19_970)])
    token = mapping.search_in(served.service, LOCAL, "demo", ids)
    asked = served.service.links.get("none:local", token).asked
    condition = searching.condition_of(served.service, served.service.galleries["demo"], asked)
    assert view.gallery.select(condition).tolist() == known.tolist()


def test_the_api_tells_places_and_values(served: Served, gallery: Gallery):
    with served.client() as client:
        told = client.get("/v1/galleries/demo/map", params={"colour": "modality"}).json()
        plain = client.get("/v1/galleries/demo/map").json()
    places = pca(gallery).places
    assert (told["method"], told["images"], told["progress"]) == ("pca", len(gallery), "")
    assert [one["image_id"] for one in told["points"]] == gallery.select(None).tolist()
    np.testing.assert_allclose([[one["x"], one["y"]] for one in told["points"]], places, atol=1e-6)
    modalities = [one for (batch,) in gallery.cell_batches("modality") for one in batch]
    assert [one["value"] for one in told["points"]] == modalities
    assert {one["value"] for one in plain["points"]} == {None}


def test_what_is_hidden_or_a_place_on_the_server_is_no_colour(guarded: Served):
    with guarded.client(guarded.key("looker")) as client:
        refused = [
            client.get("/v1/galleries/demo/map", params={"colour": column})
            for column in ("uri", "archive", "none")
        ]
        unknown = client.get("/v1/galleries/none/map")
    assert [one.status_code for one in (*refused, unknown)] == [422, 422, 422, 404]
    actions = [one.outcome for one in records(guarded.service.settings.state, who="looker", action="map")]
    assert actions == ["failed", "failed", "failed", "refused"]


@pytest.mark.skipif(has_umap(), reason="UMAP is installed")
def test_without_umap_it_is_said_how_to_have_it(served: Served):
    with served.client() as client:
        refused = client.get("/v1/galleries/demo/map", params={"method": "umap"})
    assert refused.status_code == 503
    assert "pip install 'medsiglip-search[map]'" in json.loads(refused.text)["detail"]


@pytest.mark.skipif(not has_umap(), reason="UMAP is not installed")
def test_pca_is_shown_until_umap_is_done(gallery: Gallery):
    maps = Maps(gallery)
    assert maps.projection("umap").method == "pca"
    assert maps.progress
    maps.wait()
    assert (maps.projection("umap").method, maps.progress) == ("umap", "")
    assert np.isfinite(maps.projection("umap").places).all()
