"""All hostile and odd files by name, and the task that writes one."""

from collections.abc import Iterator
from pathlib import Path

from hostile_dicom import dicom_cases
from hostile_paths import path_cases
from hostile_pictures import picture_cases

CONTENT_CASES = {case.name: case for case in [*dicom_cases(), *picture_cases()]}
PATH_CASES = {case.name: case for case in path_cases()}


def write(name: str, path: Path) -> Iterator[None]:
    """Write the file of this name: in a worker, so that the test's own process does not grow by making it."""
    path.write_bytes(CONTENT_CASES[name].build())
    yield None
