"""In which numbers an encoder computes, and what a reduced precision must prove."""

import numpy as np
import pytest
import torch

from medsiglip_search.encoders import calibration, precision
from medsiglip_search.encoders.calibration import drawn, least_cosine
from medsiglip_search.errors import EncoderUnavailable
from medsiglip_search.records import PreprocessSpec

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


@pytest.mark.parametrize("asked", ["fp32", "bf16", "int8"])
def test_what_is_asked_for_is_taken_on_a_processor(asked: str) -> None:
    assert precision.chosen(asked, CPU, 10**9) == asked


def test_bf16_is_taken_by_itself_where_it_is_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    for multiplies, parameters, expected in (
        (True, 10**9, "bf16"),
        (True, 10**6, "fp32"),
        (False, 10**9, "fp32"),
    ):
        monkeypatch.setattr(precision, "multiplies_bf16", lambda device, does=multiplies: does)
        assert precision.chosen("auto", CPU, parameters) == expected


def test_fp8_is_for_gpus_that_have_it_and_int8_for_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EncoderUnavailable, match=r"fp8: needs an NVIDIA GPU .* 8\.9 or newer, not cpu; use"):
        precision.chosen("fp8", CPU, 10**9)
    with pytest.raises(EncoderUnavailable, match="int8: runs on processors, not on cuda:0; use fp8"):
        precision.chosen("int8", GPU, 10**9)
    for capability, has in (((8, 0), False), ((8, 9), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, of=capability: of)
        if has:
            assert precision.chosen("fp8", GPU, 10**9) == "fp8"
        else:
            with pytest.raises(EncoderUnavailable, match="not cuda:0; use bf16"):
                precision.chosen("fp8", GPU, 10**9)


def test_an_unknown_precision_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        EncoderUnavailable, match="precision 'fp16': unknown; use auto, fp32, bf16, int8, fp8"
    ):
        precision.chosen("fp16", CPU, 10**9)


def test_the_least_cosine_is_that_of_the_worst_picture() -> None:
    exact = np.array([[3, 0], [0, 2], [1, 1]], np.float32)

    assert least_cosine(exact * 5, exact) == pytest.approx(1)
    assert least_cosine(np.array([[3, 0], [2, 2], [1, 1]]), exact) == pytest.approx(0.5**0.5)
    assert least_cosine(np.array([[3, 0], [np.nan, 2], [1, 1]]), exact) == -1
    assert least_cosine(np.zeros((3, 2)), exact) == -1


def test_pictures_to_prove_it_on_are_others_where_there_are_enough() -> None:
    many = [np.full((1, 1, 3), number, np.uint8) for number in range(calibration.SAMPLED)]

    fit, prove = drawn(lambda _: many, PreprocessSpec(), "int8")

    assert (len(fit), len(prove)) == (calibration.CALIBRATING, calibration.PROVING) == (32, 16)
    assert not {int(each[0, 0, 0]) for each in fit} & {int(each[0, 0, 0]) for each in prove}
    for few in (3, calibration.PROVING + 1, 2 * calibration.PROVING - 1):  # of so few, all are for both
        assert drawn(lambda _, few=few: many[:few], PreprocessSpec(), "int8") == (many[:few], many[:few])
