"""What MedSigLIP was trained on is recognised, and little else."""

import pytest

from medsiglip_search.evaluate.training_sets import TRAINING_SETS, is_medsiglip, recognised, warning

PATHS = {
    "MIMIC-CXR": "files/p10/p10000032/s50414267/02aa804e-bde0afdd-112c0b34-7bc16630-4e384014.jpg",
    "SLAKE": "imgs/xmlab102/source.jpg",
    "PAD-UFES-20": "imgs_part_1/PAT_8_15_820.png",
    "SCIN": "dataset/images/-3205742176803893704.png",
    "TCGA": "slides/TCGA-A2-A0T2-01Z-00-DX1.svs",
    "CAMELYON": "training/center_0/patient_004_node_4.tif",
    "PMC-OA": "figures/PMC4608653_Fig1_12.jpg",
    "Mendeley knee osteoarthritis": "train/2/9003175L.png",
    "EyePACS": "train/10_left.jpeg",
}
FOLDERS = {
    "MIMIC-CXR": "/data/mimic-cxr-jpg/2.1.0",
    "SLAKE": "/data/Slake1.0/imgs",
    "PAD-UFES-20": "/data/PAD_UFES_20",
    "SCIN": "gs://bucket/scin/images",
    "TCGA": "/data/TCGA",
    "CAMELYON": "/data/camelyon17",
    "PMC-OA": "/data/pmc_oa.tar",
    "Mendeley knee osteoarthritis": "/data/KneeXrayData",
    "EyePACS": "/data/eyepacs-train.csv",
}


@pytest.mark.parametrize("name", [each.name for each in TRAINING_SETS])
def test_a_set_is_recognised_by_its_paths_and_by_its_folder(name: str) -> None:
    others = [f"a/{number}.png" for number in range(30)]
    assert recognised(["/data/archive"], [PATHS[name]] * 2 + others) == [name]
    assert recognised([FOLDERS[name]], others) == [name]


def test_a_single_file_does_not_make_a_set() -> None:
    assert recognised(["/data/ours"], ["10_left.jpeg", "a.png", "b.png"]) == []
    assert recognised(["/data/ours"], ["10_left.jpeg"] * 2 + [f"{n}.png" for n in range(100)]) == []


@pytest.mark.parametrize(
    "name", ["/data/fascinating", "/data/chexpert", "/data/knee-xray", "/data/slakes", "/home/me/mimic"]
)
def test_other_names_are_no_training_set(name: str) -> None:
    assert recognised([name], ["patient00001/study1/view1_frontal.jpg", "1.2.840.dcm", "image_1.jpg"]) == []


def test_camelyon_16_is_recognised_by_its_slides_and_a_word_is_not() -> None:
    assert recognised([], ["tumor_001.tif", "normal_012.tif"]) == ["CAMELYON"]
    assert recognised([], ["tumor_big.png", "normal.png", "normal_1.png"]) == []


@pytest.mark.parametrize("encoder", ["medsiglip", "google/medsiglip-448", "/models/MedSigLIP-tuned"])
def test_figures_of_medsiglip_on_what_it_was_trained_on_are_warned_of(encoder: str) -> None:
    assert is_medsiglip(encoder)
    said = warning(encoder, ["/data/camelyon16"], [PATHS["SLAKE"]] * 3)
    assert said is not None
    assert said.startswith("the images look like SLAKE and CAMELYON, which MedSigLIP was trained on")


@pytest.mark.parametrize("encoder", ["demo", "open_clip:BiomedCLIP", "google/siglip-so400m"])
def test_another_encoder_saw_other_images(encoder: str) -> None:
    assert warning(encoder, ["/data/camelyon16"], [PATHS["SLAKE"]] * 3) is None
