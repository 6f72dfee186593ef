"""The demo explainer that is shipped: its size, and how well it describes pictures that it never saw."""

import threading

import numpy as np
import pytest
from safetensors import safe_open
from tokenizers import Tokenizer

from medsiglip_search.demo.cases import draw_study, plan, render
from medsiglip_search.demo.describing import NORMAL_STRUCTURES, description, place_of, seen
from medsiglip_search.demo.explainer_figures import DescribedPicture, measure_explainer
from medsiglip_search.demo.findings import BY_CODE, MODALITIES, Sign
from medsiglip_search.encoders import DEMO_FOLDER
from medsiglip_search.explain import DEMO_EXPLAINER_FOLDER, prompts
from medsiglip_search.explain.chat import ChatModel
from medsiglip_search.explain.kinds import DEMO_EXPLAINER
from medsiglip_search.explain.opening import Access, open_model
from medsiglip_search.explain.parsing import Description, Named, parse_description
from medsiglip_search.explain.picture_evidence import Caution

UNSEEN_SEED, PICTURES = 404, 60


@pytest.fixture(scope="module")
def explainer() -> ChatModel:
    return open_model(DEMO_EXPLAINER, Access("cpu", is_cached=False))


def described(model: ChatModel, picture: np.ndarray, again: bool = False) -> Description:
    prompt = prompts.describe([picture], again=again)
    return parse_description(model.generate(prompt, lambda _: None, threading.Event()).text)


def test_it_is_as_small_as_was_promised():
    path = DEMO_EXPLAINER_FOLDER / "model.safetensors"
    assert path.stat().st_size <= 16e6
    with safe_open(path, framework="np") as file:
        numbers = sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118
    assert numbers <= 8_000_000


def test_it_was_trained_on_the_questions_that_are_asked_now():
    tokenizer = Tokenizer.from_file(str(DEMO_EXPLAINER_FOLDER / "tokenizer.json"))
    for sentence in (*prompts.DESCRIBE, *prompts.DESCRIBE_AGAIN):
        assert tokenizer.token_to_id(sentence) is not None, "train it again: the prompts have changed"


def test_its_eyes_are_the_demo_encoders():
    with (
        safe_open(DEMO_EXPLAINER_FOLDER / "model.safetensors", framework="np") as mine,
        safe_open(DEMO_FOLDER / "model.safetensors", framework="np") as encoders,
    ):
        names = [name for name in mine.keys() if "vision_tower" in name]  # noqa: SIM118
        assert len(names) > 90
        for name in names:
            own = name.split("vision_tower.")[1].removeprefix("vision_model.")
            assert np.array_equal(mine.get_tensor(name), encoders.get_tensor(f"vision_model.{own}"))


@pytest.mark.parametrize("again", [False, True])
def test_it_names_findings_and_sides_on_pictures_it_never_saw(explainer: ChatModel, again: bool):
    shown = [
        DescribedPicture(
            study.signs, described(explainer, render(study.modality.code, one.values), again), ()
        )
        for study in plan(UNSEEN_SEED + again, PICTURES)
        for one in draw_study(study)
    ]
    figures = measure_explainer(shown)
    assert figures.parsed == 1
    assert figures.f1 >= 0.9
    assert figures.sides >= 0.95


def test_descriptions_say_what_is_shown_and_what_looks_normal():
    rng = np.random.default_rng(0)
    signs = (Sign("pleural effusion", "left", 0.9, (0.5, 0.5)),)
    for _ in range(20):
        said = parse_description(description(rng, BY_CODE["CR"], seen(signs, ["lower"])))
        assert said.parsed
        assert said.findings == (Named("pleural effusion", "left", "lower"),)
        assert said.modality == "chest radiograph"
        assert "left pleural effusion in the lower part" in said.text.lower()
        assert said.normal == ("the heart", "the hila", "the lungs")


def test_every_finding_disturbs_some_structure():
    for modality in MODALITIES:
        disturbing = set().union(*(names for _, names in NORMAL_STRUCTURES[modality.code]))
        # A pacemaker leaves everything as it is.
        assert {each.name for each in modality.findings} - disturbing <= {"pacemaker"}


@pytest.mark.parametrize(
    ("rows", "place"),
    [([1, 1, 0, 0, 0, 0, 0, 0], "upper"), ([0, 0, 0, 1, 1, 0, 0, 0], "middle"), ([0] * 7 + [1], "lower")],
)
def test_a_place_is_the_third_in_which_the_middle_of_a_finding_lies(rows: list[int], place: str):
    assert place_of(np.array(rows, bool)) == place
    assert place_of(np.ones(8, bool)) is None


def test_figures_count_mistakes_and_what_the_checker_flags():
    def one(
        signs: tuple[Sign, ...], findings: tuple[Named, ...], *cautions: tuple[str, str]
    ) -> DescribedPicture:
        told = tuple(Caution(kind, "hit 1", f"The text names {name}.") for kind, name in cautions)
        return DescribedPicture(signs, Description("", findings=findings, parsed=True), told)

    effusion = Sign("pleural effusion", "left", 0.5, (0.5, 0.5))
    figures = measure_explainer(
        [
            one((effusion,), (Named("pleural effusion", "left"),)),
            one((effusion,), (Named("pleural effusion", "right"),), ("side", "pleural effusion")),
            one((effusion,), (), ("unsaid", "pleural effusion")),
            one((), (Named("edema"),)),
            one((), (), ("unsupported", "edema")),
        ]
    )
    assert figures.f1 == pytest.approx(2 * 2 / (3 + 3))
    assert figures.sides == 0.5
    assert (figures.invented, figures.missed, figures.wrong_sides) == ((1, 0), (1, 1), (1, 1))
    assert figures.flagged_right == (2, 1)
