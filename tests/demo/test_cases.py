from collections import Counter

import numpy as np

from medsiglip_search.demo.cases import draw_study, plan
from medsiglip_search.demo.drawing import DRAW
from medsiglip_search.demo.findings import MODALITIES, Sign


def test_the_vocabulary_has_five_modalities_and_at_least_24_findings():
    assert len(MODALITIES) == 5
    assert len({finding.name for modality in MODALITIES for finding in modality.findings}) >= 24


def test_a_plan_has_exactly_the_images_asked_for_and_four_a_patient():
    studies = plan(seed=3, images=602)
    assert sum(study.images for study in studies) == 602
    assert studies[-1].patient == 151
    assert all(1 <= study.images <= 4 for study in studies)


def test_every_finding_and_every_normal_picture_comes_in_a_default_archive():
    shown = Counter()
    for study in plan(seed=5, images=600):
        shown.update([sign.finding for sign in study.signs] or [f"normal {study.modality.code}"])
    names = {finding.name for modality in MODALITIES for finding in modality.findings}
    assert set(shown) == names | {f"normal {modality.code}" for modality in MODALITIES}
    assert min(shown.values()) >= 8


def test_the_same_study_is_drawn_the_same_and_its_pictures_differ():
    study = next(study for study in plan(seed=1, images=60) if study.images > 1)
    first, again = [drawing.values for drawing in draw_study(study)], [d.values for d in draw_study(study)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])


def test_the_patients_left_is_on_the_right_of_the_picture():
    for code, finding in (("CR", "pulmonary nodule"), ("CT", "intracerebral hemorrhage")):
        for side, half in (("left", 1), ("right", 0)):
            rng = np.random.default_rng(0)
            values, boxes = DRAW[code](rng, rng, [Sign(finding, side, 0.5, (0.5, 0.5))])
            x0, _, x1, _ = boxes[0]
            assert (x0 + x1) / 2 // (values.shape[1] / 2) == half, (finding, side)


def test_a_box_holds_what_the_sign_changes():
    """The same patient with and without a nodule differs inside the box and nowhere else."""
    sign = Sign("pulmonary nodule", "left", 0.8, (0.5, 0.5))
    without, _ = DRAW["CR"](np.random.default_rng(1), np.random.default_rng(2), [])
    with_sign, ((x0, y0, x1, y1),) = DRAW["CR"](np.random.default_rng(1), np.random.default_rng(2), [sign])
    difference = np.abs(with_sign.astype(int) - without) > 600
    assert difference[y0:y1, x0:x1].mean() > 0.3
    difference[y0:y1, x0:x1] = False
    assert not difference.any()


def test_a_lytic_lesion_shows_in_the_wide_window_alone_and_an_infarct_in_the_narrow_ones():
    from medsiglip_search.demo.cases import render

    def changed(finding: str) -> np.ndarray:
        """Return by how many grey levels each window's channel changes inside the box, on average."""
        sign = Sign(finding, "left", 0.9, (0.5, 0.5))
        without, _ = DRAW["CT"](np.random.default_rng(1), np.random.default_rng(2), [])
        values, ((x0, y0, x1, y1),) = DRAW["CT"](np.random.default_rng(1), np.random.default_rng(2), [sign])
        difference = render("CT", values).astype(int) - render("CT", without)
        return np.abs(difference[y0:y1, x0:x1]).mean(axis=(0, 1))

    wide, soft_tissue, brain = changed("lytic skull lesion")
    assert wide > 20
    assert soft_tissue < 2
    assert brain < 8
    wide, soft_tissue, brain = changed("infarct")
    assert brain > 20
    assert wide < 5
