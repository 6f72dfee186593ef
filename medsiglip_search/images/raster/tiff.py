"""TIFF: which of its directories are pages, and the pictures on them."""

import io
import re
from typing import BinaryIO

import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError

from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images.limits import check_frame
from medsiglip_search.images.raster import tiff_tags as tags
from medsiglip_search.images.raster.decoding import Decoded, malformed, open_pillow
from medsiglip_search.images.raster.orientation import valid_orientation
from medsiglip_search.images.raster.pixels import Samples
from medsiglip_search.images.raster.tiff_directory import Directory, TiffSource, read_directories
from medsiglip_search.images.raster.tiff_page import bits_per_pixel, one_page_file

# A reduced copy, a transparency mask (TIFF 6.0, section 8), and what Aperio marks macros with.
_NOT_A_PAGE = 0b1 | 0b100 | 0b1000
_OLD_REDUCED = 2
# How whole-slide scanners describe the pictures of a slide's label, which shows the patient's name, and of
# the whole slide, which shows the label: Aperio on a line of its own, Philips and Ventana from the start,
# Akoya in XML.
_LABEL = re.compile(
    rb"^[ \t]*(label|macro)(?![a-z])"
    rb"|<ImageType>\s*(label|macro|overview|barcode)\s*</ImageType>",
    re.IGNORECASE | re.MULTILINE,
)
_LABEL_NAMES = (b"label", b"macro", b"overview", b"barcode")
# A whole word, or a part of one in camel case: "type=label", "slide_macro", "SlideLabel".
_LABEL_WORD = re.compile(
    rb"(?<![A-Za-z])(label|macro|overview|barcode)(?![a-z])"
    rb"|(Label|Macro|Overview|Barcode)(?![a-z])"
    rb"|(?<![A-Za-z])(LABEL|MACRO|OVERVIEW|BARCODE)(?![A-Za-z])"
)
_MAX_NAMING_LINE_BYTES = 64
# XML and JSON of more lines may tell of all pages.
_TELLS_OF_OTHERS = (b"<", b"{", b"\xef\xbb\xbf<")
_MAX_DESCRIPTION_BYTES = 1 << 12
_GREY_OR_RGB = (tags.WHITE_IS_ZERO, tags.BLACK_IS_ZERO, tags.RGB)
_WHOLE_BYTES = (8, 16, 32, 64)


class TiffFile:
    """An open TIFF file; its pages are its frames.

    Reduced copies, masks and the labels and macros of whole slides are no pages. A label or macro is what its
    scanner's own form says is one (a lens of Hamamatsu's, a line of the description that begins with it, an
    image type of Akoya's), or a page name that is nothing but "label", "macro", "overview" or "barcode".
    Where that leaves several pages, one of these words is enough in the page name, in a short line of the
    description, or in a description of XML or JSON that is short as a whole. A file of a single page may say
    any such word in passing.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._source = TiffSource(stream)
        if not self._source.first_directory:
            raise malformed("it holds no picture")
        self._pages = _pages(self._source)
        self.frame_count = len(self._pages)
        if not self._pages:
            raise Unreadable(
                Reason.LABEL_OR_LOCALIZER,
                "It holds only labels, masks or reduced copies of a picture. Export the picture itself.",
            )

    def decode(self, frame: int) -> Decoded:
        """Return one page; grey and colour of more than 8 bits, signed or real as values."""
        page = Directory(self._source, self._pages[frame])
        bits = bits_per_pixel(page)
        check_frame(page.number(tags.ROWS, 0), page.number(tags.COLUMNS, 0), bits if bits > 32 else 24)
        if page.number(tags.COMPRESSION, tags.UNCOMPRESSED) not in tags.COMPRESSIONS:
            raise _unsupported()
        file = one_page_file(page)
        orientation = valid_orientation(page.number(tags.ORIENTATION, 1))
        return Decoded(_decode(page, file), orientation)


def _decode(page: Directory, file: io.BytesIO) -> Samples | Image.Image:
    photometric = page.number(tags.PHOTOMETRIC, tags.WHITE_IS_ZERO)
    is_jpeg = page.number(tags.COMPRESSION, tags.UNCOMPRESSED) in (tags.JPEG, tags.OLD_JPEG)
    if not is_jpeg and photometric in _GREY_OR_RGB and page.number(tags.BITS, 1) in _WHOLE_BYTES:
        return _decode_samples(page, file)
    if not is_jpeg and photometric == tags.YCBCR:
        # Pillow takes the planes for red, green and blue.
        rgba = np.zeros((page.number(tags.ROWS, 0), page.number(tags.COLUMNS, 0), 4), np.uint8)
        return Samples(imagecodecs.tiff_decode(file.getvalue(), asrgb=True, out=rgba), is_colour=True)
    try:
        image = open_pillow(file, "TIFF")
    except UnidentifiedImageError as error:
        raise _unsupported() from error
    image.load()
    return image


def _pages(source: TiffSource) -> list[int]:
    """Return the offsets of the directories that are pages."""
    pages = [(page.offset, _names_label(page)) for page in read_directories(source) if _is_page(page)]
    return [offset for offset, names_label in pages if len(pages) == 1 or not names_label]


def _names_label(directory: Directory) -> bool:
    """Tell whether a word says label or macro, as it may on the only page of any file."""
    description = _description(directory)
    tells_of_others = description.lstrip().startswith(_TELLS_OF_OTHERS)
    lines = [description] if tells_of_others else description.splitlines()
    names = [_page_name(directory), *lines]
    return any(len(name) <= _MAX_NAMING_LINE_BYTES and _LABEL_WORD.search(name) for name in names)


def _description(directory: Directory) -> bytes:
    return directory.raw(tags.DESCRIPTION, _MAX_DESCRIPTION_BYTES)[1].rstrip(b"\0")


def _page_name(directory: Directory) -> bytes:
    return directory.raw(tags.PAGE_NAME, _MAX_NAMING_LINE_BYTES)[1].rstrip(b"\0").strip()


def _is_page(directory: Directory) -> bool:
    return not (
        directory.number(tags.SUBFILE_TYPE, 0) & _NOT_A_PAGE
        or directory.number(tags.OLD_SUBFILE_TYPE, 0) == _OLD_REDUCED
        or _LABEL.search(_description(directory))
        or _page_name(directory).lower() in _LABEL_NAMES
        or directory.values(tags.NDPI_LENS, 1).tolist() in ([-1.0], [-2.0])
    )


def _decode_samples(page: Directory, file: io.BytesIO) -> Samples:
    count = page.number(tags.SAMPLES, 1)
    is_planar = count > 1 and page.number(tags.PLANAR_CONFIGURATION, 1) == tags.PLANAR
    size = (page.number(tags.ROWS, 0), page.number(tags.COLUMNS, 0))
    shape = (count, *size) if is_planar else (*size, count) if count > 1 else size
    # Of a page whose tags contradict one another, the decoder makes other shapes, which `out` refuses.
    array = imagecodecs.tiff_decode(file.getvalue(), out=np.zeros(shape, _dtype(page)))
    if is_planar:
        array = np.moveaxis(array, 0, -1)
    photometric = page.number(tags.PHOTOMETRIC, 0)
    is_colour = photometric == tags.RGB
    # Four samples without a word on the fourth are red, green, blue and alpha.
    unsaid = tags.ALPHA if count == 4 and is_colour else 0
    alpha = page.number(tags.EXTRA_SAMPLES, unsaid) if count > (3 if is_colour else 1) else 0
    if is_colour and count < 3:
        raise malformed("it has fewer samples than colours")
    return Samples(
        array,
        is_colour,
        has_alpha=alpha in (tags.ALPHA, tags.PREMULTIPLIED_ALPHA),
        premultiplied=alpha == tags.PREMULTIPLIED_ALPHA,
        white_is_zero=photometric == tags.WHITE_IS_ZERO,
    )


def _dtype(page: Directory) -> np.dtype:
    kinds = {tags.UNSIGNED: "u", tags.SIGNED: "i", tags.REAL: "f"}
    sample_format = page.number(tags.SAMPLE_FORMAT, tags.UNSIGNED)
    if sample_format in tags.COMPLEX:
        raise _unsupported()
    kind = kinds.get(sample_format, "u")
    try:
        return np.dtype(f"{kind}{page.number(tags.BITS, 1) // 8}")
    except TypeError as error:  # real numbers of 8 bits
        raise _unsupported() from error


def _unsupported() -> Unreadable:
    return Unreadable(
        Reason.UNSUPPORTED_CODEC, "This kind of TIFF is not supported. Export it as an uncompressed TIFF."
    )
