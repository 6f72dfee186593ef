"""Names on disk that are no plain file, or lead to none; and odd files that come with pydicom."""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pydicom
from hostile_case import PathCase, Shown
from hostile_pictures import RIGHT, png

from medsiglip_search.errors import Reason

# Other systems take UTF-8 names only.
LATIN_1 = os.fsdecode(b"M\xfcller") if sys.platform == "linux" else "Müller"
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"


def path_cases() -> list[PathCase]:
    gone = Reason.UNREADABLE
    return [
        PathCase("folder", lambda folder: folder, gone, 18),
        PathCase("absent", lambda folder: folder / "absent", gone, 18),
        PathCase("null_character", lambda folder: folder / "nul\0l", gone, 18),
        PathCase("name_beyond_the_file_systems_limit", lambda folder: folder / ("d" * 300), gone, 18),
        PathCase("broken_link", _link("nowhere"), gone, 18),
        PathCase("link_to_itself", _link("link"), gone, 18),
        PathCase("fifo", _fifo, gone, 18),
        PathCase("socket", _socket, gone, 18),
        PathCase("device", lambda _: Path("/dev/zero"), gone, 18),
        PathCase("closed", _closed, RIGHT if os.geteuid() == 0 else gone, 18),
        PathCase("link_to_a_picture", _linked_picture, RIGHT, 18),
        PathCase("name_in_latin_1", lambda folder: _picture(folder / LATIN_1), RIGHT, 18),
        PathCase("path_of_300_characters",
                 lambda folder: _picture(folder.joinpath(*["d" * 100] * 3) / "1.dcm"), RIGHT, 18),
        *(
            PathCase(f"bundled_{name}", lambda _, name=name: BUNDLED / name, outcome, row)  # type: ignore[misc]
            for name, outcome, row in BUNDLED_OUTCOMES
        ),
    ]  # fmt: skip


BUNDLED_OUTCOMES: list[tuple[str, Reason | Shown, int]] = [
    ("rtplan.dcm", Reason.NON_IMAGE_DICOM, 10),
    ("rtdose.dcm", Reason.NON_IMAGE_DICOM, 10),
    ("rtstruct.dcm", Reason.NON_IMAGE_DICOM, 10),
    ("test-SR.dcm", Reason.NON_IMAGE_DICOM, 10),
    ("waveform_ecg.dcm", Reason.NON_IMAGE_DICOM, 10),
    ("liver_1frame.dcm", Reason.NON_IMAGE_DICOM, 10),
    ("dicomdirtests/DICOMDIR", Reason.NON_IMAGE_DICOM, 10),
    ("dicomdirtests/DICOMDIR-bigEnd", Reason.NON_IMAGE_DICOM, 10),
    ("ExplVR_BigEndNoMeta.dcm", Reason.NON_IMAGE_DICOM, 12),
    ("MR_truncated.dcm", Reason.TRUNCATED, 13),
    ("nested_priv_SQ.dcm", Reason.MALFORMED, 13),
    ("JPEG2000-embedded-sequence-delimiter.dcm", Reason.MALFORMED, 13),
    ("README.txt", Reason.NOT_AN_IMAGE, 12),
    ("MR_small_bigendian.dcm", Shown(size=(64, 64)), 1),
    ("JPGExtended.dcm", Shown(size=(1024, 256), flags=("window_fallback", "burned_in_suspected")), 2),
    ("SC_rgb_rle_2frame.dcm", Shown(frames=2, size=(100, 100), flags=("burned_in_suspected",)), 8),
    ("examples_ybr_color.dcm", Shown(frames=30, size=(240, 320), flags=("burned_in_suspected",)), 8),
]


def _picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png())
    return path


def _link(target: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "link").symlink_to(folder / target)
        return folder / "link"

    return make


def _linked_picture(folder: Path) -> Path:
    (folder / "link").symlink_to(_picture(folder / "real"))
    return folder / "link"


def _closed(folder: Path) -> Path:
    path = _picture(folder / "closed")
    path.chmod(0)
    return path


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


def _socket(folder: Path) -> Path:
    # Bound by its descriptor's path, since that of a socket must be short.
    with socket.socket(socket.AF_UNIX) as bound:
        descriptor = os.open(folder, os.O_RDONLY)
        bound.bind(f"/proc/self/fd/{descriptor}/socket" if os.path.exists("/proc/self/fd") else "socket")
        os.close(descriptor)
    return folder / "socket"
