"""Where a slice lies: what orders the slices of a series and the frames of a volume."""

import math
from collections.abc import Sequence

from pydicom.dataset import Dataset

from medsiglip_search.images.dicom.elements import functional_group, numbers

_PARALLEL = 1e-3
"""How far two unit normals may differ in each direction and still be of parallel slices."""

_Vector = tuple[float, float, float]


def position_mm(dataset: Dataset, frame: int) -> float | None:
    """Return how far the frame lies along its normal, in mm; None where the file does not say.

    The plane is the frame's own of an enhanced image (PS3.3 C.7.6.16.2.3, C.7.6.16.2.4), else the dataset's
    (PS3.3 C.7.6.2.1.1).
    """
    corner, normal = _corner(dataset, frame), _normal(dataset, frame)
    if corner is None or normal is None:
        return None
    place = _dot(corner, normal)
    return place if math.isfinite(place) else None


def frame_order(dataset: Dataset, frame_count: int) -> Sequence[int]:
    """Return the frames by their position; those at one place, such as echoes, stay as they are stored.

    As stored too where the frames are not parallel, or where any lacks a position.
    """
    stored = range(frame_count)
    first = _normal(dataset, 0)
    if frame_count == 1 or first is None:
        return stored
    positions = []
    for frame in stored:
        corner, normal = _corner(dataset, frame), _normal(dataset, frame)
        if corner is None or normal is None or not _parallel(normal, first):
            return stored
        positions.append(_dot(corner, first))
    return sorted(stored, key=positions.__getitem__)


def _corner(dataset: Dataset, frame: int) -> _Vector | None:
    """Return the centre of the first voxel, (x, y, z) in mm."""
    found = numbers(functional_group(dataset, frame, "PlanePositionSequence"), "ImagePositionPatient")
    return (found[0], found[1], found[2]) if len(found) == 3 else None


def _normal(dataset: Dataset, frame: int) -> _Vector | None:
    """Return the unit normal of the slice, None where its two directions span no plane."""
    plane = functional_group(dataset, frame, "PlaneOrientationSequence")
    found = numbers(plane, "ImageOrientationPatient")
    if len(found) != 6:
        return None
    (a, b, c), (d, e, f) = found[:3], found[3:]
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    length = math.hypot(*normal)
    if not (math.isfinite(length) and length > _PARALLEL):
        return None
    return normal[0] / length, normal[1] / length, normal[2] / length


def _dot(a: _Vector, b: _Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _parallel(a: _Vector, b: _Vector) -> bool:
    return all(abs(one - other) < _PARALLEL for one, other in zip(a, b, strict=True))
