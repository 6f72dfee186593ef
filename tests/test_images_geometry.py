"""Where slices lie: the position that orders a series, and the order of a volume's frames."""

import math
from typing import Any

import numpy as np
import pytest
from dicom_files import dataset_of, image_dataset, sequence_item, written
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medsiglip_search.images import open_image

# The test runner lifts the silence that the package asks for.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

AXIAL = [1, 0, 0, 0, 1, 0]
SAGITTAL = [0, 1, 0, 0, 0, -1]
OBLIQUE = [1, 0, 0, 0, math.cos(0.5), math.sin(0.5)]
RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8)


def slice_at(position: Any, orientation: Any) -> bytes:
    return written(
        image_dataset(
            RAMP,
            sop_class=uid.MRImageStorage,
            Modality="MR",
            ImagePositionPatient=position,
            ImageOrientationPatient=orientation,
        )
    )


def position_of(file: bytes, frame: int = 0) -> float | None:
    with open_image(file) as opened:
        return opened.read(frame).attributes.position_mm


def frame_group(position: Any, orientation: Any = None) -> Dataset:
    group = dataset_of(PlanePositionSequence=sequence_item(ImagePositionPatient=position))
    if orientation is not None:
        group.PlaneOrientationSequence = sequence_item(ImageOrientationPatient=orientation)
    return group


def volume(groups: list[Dataset], shared: list[int] | None = AXIAL) -> bytes:
    frames = np.stack([RAMP + number for number in range(len(groups))])
    dataset = image_dataset(
        frames,
        sop_class=uid.EnhancedMRImageStorage,
        Modality="MR",
        NumberOfFrames=len(groups),
        PerFrameFunctionalGroupsSequence=Sequence(groups),
    )
    if shared is not None:
        plane = sequence_item(ImageOrientationPatient=shared)
        dataset.SharedFunctionalGroupsSequence = sequence_item(PlaneOrientationSequence=plane)
    return written(dataset)


def order_of(file: bytes) -> list[int]:
    with open_image(file) as opened:
        return opened.sampled(opened.frame_count)


def test_the_position_is_measured_along_the_normal_of_the_slice() -> None:
    assert position_of(slice_at([-120, -110, 37.5], AXIAL)) == 37.5
    assert position_of(slice_at([12.5, -110, 40], SAGITTAL)) == -12.5
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    assert position_of(slice_at([10, 20, 30], OBLIQUE)) == pytest.approx(normal @ [10, 20, 30])


def test_moving_within_the_slice_does_not_change_the_position() -> None:
    corner = np.array([10.0, 20.0, 30.0])
    moved = corner + 40 * np.array(OBLIQUE[:3]) - 25 * np.array(OBLIQUE[3:])
    here, there = (
        position_of(slice_at([f"{x:.12f}" for x in place], [f"{x:.12f}" for x in OBLIQUE]))
        for place in (corner, moved)
    )
    assert here is not None
    assert here == pytest.approx(there, abs=1e-6)


@pytest.mark.parametrize(
    ("position", "orientation"),
    [
        (None, AXIAL),
        ([1, 2, 3], None),
        ([1, 2], AXIAL),
        ([1, 2, 3], [1, 0, 0]),
        ([1, 2, 3], [1, 0, 0, 1, 0, 0]),
        ([1, 2, 3], [0] * 6),
        (["1", "2", "nan"], AXIAL),
        (["1", "2", "1e308"], ["1e200", 0, 0, 0, "1e200", 0]),
        (["0", "1.7e308", "1.7e308"], [1, 0, 0, 0, 1, -1]),
    ],
)
def test_a_slice_without_a_whole_plane_has_no_position(position: Any, orientation: Any) -> None:
    assert position_of(slice_at(position, orientation)) is None


def test_frames_have_their_own_position_in_the_plane_that_all_share() -> None:
    file = volume([frame_group([0, 0, z]) for z in (5, 2.5, 10)])
    assert [position_of(file, frame) for frame in range(3)] == [5, 2.5, 10]


def test_frames_of_a_volume_come_by_position() -> None:
    groups = [frame_group([0, 0, z], AXIAL) for z in (30, -10, 20, 0)]
    assert order_of(volume(groups, shared=None)) == [1, 3, 2, 0]


def test_frames_at_one_place_stay_as_they_are_stored() -> None:
    assert order_of(volume([frame_group([0, 0, z]) for z in (5, 0, 5, 0, 5)])) == [1, 3, 0, 2, 4]


def test_the_order_is_as_stored_where_a_position_is_missing() -> None:
    groups = [frame_group([0, 0, z]) for z in (30, 20, 10)]
    del groups[1].PlanePositionSequence
    assert order_of(volume(groups)) == [0, 1, 2]
    assert order_of(volume([frame_group([0, 0, z]) for z in (30, 20, 10)], shared=None)) == [0, 1, 2]


def test_the_order_is_as_stored_where_the_frames_are_not_parallel() -> None:
    groups = [
        frame_group([0, 0, 30], AXIAL),
        frame_group([0, 0, 20], SAGITTAL),
        frame_group([0, 0, 1], AXIAL),
    ]
    assert order_of(volume(groups, shared=None)) == [0, 1, 2]
    nearly = [1, 0, 0.0001, 0, 1, 0]
    groups[1] = frame_group([0, 0, 20], nearly)
    assert order_of(volume(groups, shared=None)) == [2, 1, 0]


def test_a_cine_without_positions_is_in_the_order_of_time() -> None:
    frames = np.stack([RAMP + number for number in range(5)])
    dataset = image_dataset(frames, sop_class=uid.UltrasoundMultiFrameImageStorage, NumberOfFrames=5)
    assert order_of(written(dataset)) == [0, 1, 2, 3, 4]
