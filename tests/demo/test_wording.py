import numpy as np
import pytest

from medsiglip_search.demo.cases import draw_signs
from medsiglip_search.demo.findings import BY_CODE, MODALITIES, Sign
from medsiglip_search.demo.wording import Statement, atoms_of, report, statement, truth

CHEST, HEAD = BY_CODE["CR"], BY_CODE["CT"]
LEFT_EFFUSION = Sign("pleural effusion", "left", 0.9, (0.5, 0.5))
RIGHT_EFFUSION = Sign("pleural effusion", "right", 0.1, (0.5, 0.5))
PICTURES = [(CHEST, (LEFT_EFFUSION,)), (CHEST, (RIGHT_EFFUSION,)), (CHEST, ()), (HEAD, ())]


@pytest.mark.parametrize(
    ("said", "true_of"),
    [
        (Statement("", "CR"), [True, True, True, False]),
        (Statement("", "CR", frozenset({"pleural effusion"})), [True, True, False, False]),
        (Statement("", "CR", frozenset({"left pleural effusion"})), [True, False, False, False]),
        (Statement("", "CR", frozenset({"small pleural effusion"})), [False, True, False, False]),
        (Statement("", "CR", absent=frozenset({"pleural effusion"})), [False, False, True, False]),
        (Statement("", "CR", absent=frozenset({"left pleural effusion"})), [False, True, True, False]),
        (
            Statement("", "CR", frozenset({"pleural effusion"}), frozenset({"left pleural effusion"})),
            [False, True, False, False],
        ),
    ],
)
def test_a_statement_is_true_of_the_pictures_that_show_all_it_says_and_nothing_it_denies(said, true_of):
    assert truth([said], PICTURES).tolist() == [true_of]


def test_every_generated_text_is_true_of_the_picture_it_was_made_for():
    rng = np.random.default_rng(0)
    for _ in range(400):
        modality = MODALITIES[rng.integers(len(MODALITIES))]
        finding = [None, *modality.findings][rng.integers(len(modality.findings) + 1)]
        signs = draw_signs(rng, modality, finding)
        assert truth([statement(rng, modality, signs)], [(modality, signs)]).all()


def test_a_report_names_every_sign_with_its_side_and_size():
    text = report(np.random.default_rng(0), CHEST, (LEFT_EFFUSION,)).text
    assert text.startswith("Chest radiograph. Large left pleural effusion.")


def test_atoms_name_a_sign_with_and_without_side_and_with_its_size():
    assert atoms_of((LEFT_EFFUSION,)) == {
        "pleural effusion",
        "left pleural effusion",
        "large pleural effusion",
    }
