"""What every kind of file has in common: opening, refusing, choosing frames, thumbnails, digests."""

import io
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medsiglip_search.errors import InvalidQuery, Reason, Unreadable
from medsiglip_search.images import open_image, pixel_digest, sampled_frames, thumbnail


@pytest.fixture
def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(file, "PNG")
    return file.getvalue()


def refused(source: str | os.PathLike[str] | bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        open_image(source)
    return caught.value


def test_the_content_decides_and_not_the_name(tmp_path: Path, png: bytes) -> None:
    path = tmp_path / "scan.dcm"
    path.write_bytes(png)
    with open_image(path) as file:
        assert file.frame_count == 1
        assert file.read().pixels.tolist() == np.arange(48).reshape(4, 4, 3).tolist()
    with open_image(str(path)) as by_text, open_image(png) as by_bytes:
        np.testing.assert_array_equal(by_text.read().pixels, by_bytes.read().pixels)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"Findings: none\n" * 40,
        b"BM is a postcode\n" * 40,
        b"GIF8" + b"\0" * 100,
        b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 100,
        b"PK\x03\x04" + b"\0" * 200,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n" * 9,
        b"8BPS\0\x01" + b"\0" * 200,
        b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 200,
        bytes(range(256)) * 4,
    ],
)
def test_other_content_is_not_an_image(content: bytes) -> None:
    assert refused(content).reason == Reason.NOT_AN_IMAGE


def test_what_cannot_be_opened_is_unreadable(tmp_path: Path) -> None:
    os.symlink(tmp_path / "loop", tmp_path / "loop")
    os.symlink(tmp_path / "nowhere", tmp_path / "broken")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name in ("absent", "loop", "broken", "pipe", "socket", "", "nul\0l"):
            assert refused(str(tmp_path / name) if name else tmp_path).reason == Reason.UNREADABLE, name
    assert refused("/dev/zero").reason == Reason.UNREADABLE


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_file_without_permission_is_unreadable(tmp_path: Path, png: bytes) -> None:
    path = tmp_path / "closed.png"
    path.write_bytes(png)
    path.chmod(0)
    assert refused(path).reason == Reason.UNREADABLE


def test_a_name_in_latin_1_bytes_opens(tmp_path: Path, png: bytes) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller.png")
    Path(path).write_bytes(png)
    with open_image(path) as file:
        assert file.read().pixels.shape == (4, 4, 3)


def test_a_message_holds_neither_the_path_nor_text_of_the_file(tmp_path: Path) -> None:
    for name, content in (("Doe.txt", b"Doe, John"), ("Doe.png", b"\x89PNG\r\n\x1a\n Doe, John")):
        (tmp_path / name).write_bytes(content)
        assert "Doe" not in str(refused(tmp_path / name))
    assert "Doe" not in str(refused(tmp_path / "Doe absent.png"))


def test_a_frame_that_is_not_there_is_refused_by_its_number(png: bytes) -> None:
    with open_image(png) as file:
        for frame in (-1, 1):
            with pytest.raises(InvalidQuery, match=f"frame {frame} of 1"):
                file.read(frame)


def test_a_picture_of_one_colour_is_blank() -> None:
    file = io.BytesIO()
    Image.new("RGB", (300, 200), (9, 8, 7)).save(file, "PNG")
    with open_image(file.getvalue()) as opened, pytest.raises(Unreadable) as caught:
        opened.read()
    assert caught.value.reason == Reason.BLANK_IMAGE


def test_sampled_frames_are_the_middles_of_equal_parts() -> None:
    assert sampled_frames(3, 16) == [0, 1, 2]
    assert sampled_frames(16, 16) == list(range(16))
    assert sampled_frames(30, 1) == [15]
    assert sampled_frames(30, 3) == [5, 15, 25]
    assert sampled_frames(17, 16) == [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16]
    with pytest.raises(ValueError, match="limit is 0"):
        sampled_frames(3, 0)


def test_a_thumbnail_keeps_the_aspect_and_enlarges_nothing() -> None:
    pixels = np.zeros((1000, 500, 3), dtype=np.uint8)
    pixels[:500] = (200, 40, 40)
    small = Image.open(io.BytesIO(thumbnail(pixels)))
    assert (small.format, small.size) == ("JPEG", (128, 256))
    assert np.abs(np.asarray(small)[64, 64].astype(int) - (200, 40, 40)).max() <= 3
    assert Image.open(io.BytesIO(thumbnail(pixels[:10, :7]))).size == (7, 10)
    assert Image.open(io.BytesIO(thumbnail(pixels[:, :1]))).size == (1, 256)


def test_a_thumbnail_shows_detail_that_is_finer_than_itself_as_its_mean() -> None:
    stripes = np.zeros((2000, 2000, 3), dtype=np.uint8)
    stripes[:, 1::2] = 200
    small = np.asarray(Image.open(io.BytesIO(thumbnail(stripes)))).astype(int)
    assert np.abs(small - 100).max() <= 20


def test_the_digest_knows_the_shape_and_not_the_memory_layout() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert pixel_digest(pixels) == pixel_digest(np.asfortranarray(pixels))
    assert pixel_digest(pixels) != pixel_digest(pixels.reshape(4, 2, 3))
    assert len(pixel_digest(pixels)) == 64
