"""Damaged, lying and unusual DICOM files, and what must come of each."""

import functools
import struct

import numpy as np
from dicom_damage import (
    COMPRESSED,
    FALLBACK,
    LEVELS,
    RAMP,
    RIGHT,
    SYNTAXES,
    WINDOW,
    baseline,
    baseline_jpeg,
    big_endian,
    codestream,
    colour,
    cut,
    deflated,
    enhanced,
    extended_offsets,
    film,
    floats,
    lying,
    lying_about_frames,
    nested,
    of_class,
    of_codestream,
    of_fragments,
    of_rle,
    of_syntax,
    offsets,
    palette,
    plain,
    rle,
    rle_segments,
    segmented_palette,
    two_fragments,
    two_items,
    two_of_four_tiles,
    with_bytes,
    with_frame_size,
    with_preamble,
    with_siz,
    with_text,
)
from dicom_files import (
    dataset_of,
    deflated_zeros,
    image_dataset,
    lookup_table,
    lossless,
    sequence_item,
    without_preamble,
    written,
    written_compressed,
)
from hostile_case import PATIENT, Case, Shown
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medsiglip_search.errors import Reason


def cut_cases() -> list[Case]:
    """Files that end early."""
    whole = plain()
    ends = [
        ("in_preamble", 100, Reason.NOT_AN_IMAGE),
        ("before_the_prefix_ends", 131, Reason.NOT_AN_IMAGE),
        ("after_the_prefix", 132, Reason.MALFORMED),
        ("in_file_meta", 150, Reason.MALFORMED),
        ("in_a_name", whole.index(PATIENT.encode()) + 3, Reason.TRUNCATED),
        ("in_rows", whole.index(b"\x28\x00\x10\x00US") + 9, Reason.TRUNCATED),
        ("in_the_pixel_elements_head", whole.index(b"\xe0\x7f\x10\x00") + 6, Reason.TRUNCATED),
        ("after_the_pixel_elements_head", whole.index(b"\xe0\x7f\x10\x00") + 12, Reason.TRUNCATED),
        ("one_byte_short", len(whole) - 1, Reason.TRUNCATED),
    ]
    cases = [
        Case(f"dicom_cut_{name}", functools.partial(whole.__getitem__, slice(0, end)), reason, 13)
        for name, end, reason in ends
    ]
    for name, syntax in {**SYNTAXES, "deflated": uid.DeflatedExplicitVRLittleEndian}.items():
        cases.append(Case(f"{name}_cut_late", functools.partial(cut, syntax, 0.9), Reason.TRUNCATED, 13))
    return cases


def size_cases() -> list[Case]:
    """Headers that ask for more than the file holds."""
    cases = []
    for name, syntax in SYNTAXES.items():
        huge = functools.partial(lying, syntax, Rows=60_000, Columns=60_000)
        cases.append(Case(f"{name}_60000_squared", huge, Reason.TOO_LARGE, 14))
        # Within the limits, so that the decoder sees it.
        large = functools.partial(lying, syntax, Rows=9_000, Columns=9_000)
        native = syntax == uid.ExplicitVRLittleEndian
        outcome = Reason.TRUNCATED if native else Reason.MALFORMED
        cases.append(Case(f"{name}_9000_squared", large, outcome, 14))
        count = functools.partial(lying_about_frames, syntax, 400_000)
        cases.append(Case(f"{name}_400000_frames", count, Reason.TRUNCATED, 14))
    jpeg = baseline_jpeg()
    cases += [
        Case("baseline_60000_squared", lambda: baseline(Rows=60_000, Columns=60_000), Reason.TOO_LARGE, 14),
        Case(
            "baseline_and_its_codestream_65500_squared",
            lambda: baseline(with_frame_size(jpeg, 65500, 65500), Rows=65500, Columns=65500),
            Reason.TOO_LARGE, 14,
        ),
        Case(
            "baseline_codestream_65500_squared",
            lambda: baseline(with_frame_size(jpeg, 65500, 65500)), Reason.MALFORMED, 14,
        ),
        Case(
            "baseline_and_its_codestream_9000_squared",
            lambda: baseline(with_frame_size(jpeg, 9000, 9000), Rows=9000, Columns=9000),
            Reason.MALFORMED, 14,
        ),
        Case("more_frames_than_an_integer_holds", lambda: with_text("NumberOfFrames", "99999999"),
             Reason.TRUNCATED, 14),
        Case("wide_rows_65535_x_1", lambda: lying(SYNTAXES["native"], Rows=65535, Columns=1),
             Reason.TRUNCATED, 13),
        Case("rows_one_too_many", lambda: lying(SYNTAXES["native"], Rows=33), Reason.TRUNCATED, 13),
        Case("rows_one_too_few", lambda: lying(SYNTAXES["native"], Rows=31), Shown(size=(31, 32)), 13),
    ]  # fmt: skip
    for name in ("rle", "jpeg_ls", "jpeg_lossless", "jpeg_2000", "htj2k"):
        build = functools.partial(lying, COMPRESSED[name], Rows=33)
        cases.append(Case(f"{name}_of_another_size", build, Reason.MALFORMED, 13))
    return cases


def codestream_cases() -> list[Case]:
    """Compressed frames that lie."""
    jls, j2k, ljpeg = (codestream(COMPRESSED[name]) for name in ("jpeg_ls", "jpeg_2000", "jpeg_lossless"))
    large = {"Rows": 9000, "Columns": 9000}
    j2k_syntax = uid.JPEG2000Lossless

    def both_large(syntax: uid.UID, data: bytes) -> bytes:
        dataset = film()
        written_compressed(dataset, syntax, [data])
        dataset.update(dataset_of(**large))
        return written(dataset, syntax)

    def cut_codestream(syntax: uid.UID, share: float) -> bytes:
        data = codestream(syntax)
        return of_codestream(syntax, data[: int(len(data) * share)])

    cases = [
        Case("jpeg_ls_and_its_header_9000_squared",
             lambda: both_large(uid.JPEGLSLossless, with_frame_size(jls, 9000, 9000)),
             Reason.MALFORMED, 14),
        Case("jpeg_lossless_and_its_header_9000_squared",
             lambda: both_large(uid.JPEGLossless, with_frame_size(ljpeg, 9000, 9000)),
             Reason.MALFORMED, 14),
        Case("jpeg_2000_and_its_header_9000_squared",
             lambda: both_large(j2k_syntax, with_siz(j2k, 8, [9000, 9000])),
             Reason.MALFORMED, 14),
        Case("jpeg_2000_says_60000_squared", lambda: of_codestream(j2k_syntax, with_siz(j2k, 8, [60000] * 2)),
             Reason.MALFORMED, 14),
        Case("jpeg_2000_offset_beyond_its_size",
             lambda: of_codestream(j2k_syntax, with_siz(j2k, 16, [2**31, 2**31])), Reason.MALFORMED, 14),
        Case("jpeg_2000_of_the_size_by_a_huge_offset",
             lambda: of_codestream(j2k_syntax, with_siz(j2k, 8, [2**31 + 32] * 2 + [2**31] * 2)),
             Reason.MALFORMED, 14),
        Case("jpeg_2000_tiles_of_one_pixel",
             lambda: of_codestream(j2k_syntax, with_siz(j2k, 24, [1, 1])), Reason.MALFORMED, 14),
        Case("jpeg_2000_tiles_of_nothing",
             lambda: of_codestream(j2k_syntax, with_siz(j2k, 24, [0, 0])), Reason.MALFORMED, 14),
        Case("jpeg_2000_with_16384_components",
             lambda: of_codestream(j2k_syntax, j2k[:40] + b"\x40\0" + j2k[42:]),
             Reason.MALFORMED, 14),
        Case("jpeg_2000_boxes_in_a_loop",
             lambda: of_codestream(j2k_syntax, b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\0free" + j2k),
             Reason.MALFORMED, 14),
        Case("jpeg_2000_cut_between_tiles", lambda: of_codestream(j2k_syntax, two_of_four_tiles()),
             Reason.MALFORMED, 13),
        Case("text_for_a_codestream", lambda: of_codestream(j2k_syntax, b"Findings: none. " * 20),
             Reason.MALFORMED, 13),
        Case("jpeg_named_jpeg_2000", lambda: of_codestream(j2k_syntax, baseline_jpeg()),
             Reason.MALFORMED, 13),
    ]  # fmt: skip
    for name in ("rle", "jpeg_ls", "jpeg_lossless", "jpeg_2000", "htj2k"):
        build = functools.partial(cut_codestream, COMPRESSED[name], 0.6)
        cases.append(Case(f"{name}_codestream_cut", build, Reason.MALFORMED, 13))
    jpeg = baseline_jpeg()
    cases.append(Case("baseline_codestream_cut", lambda: baseline(jpeg[:-200]), Reason.MALFORMED, 13))
    return cases


def rle_cases() -> list[Case]:
    """RLE frames that lie."""
    high, low = rle_segments(codestream(uid.RLELossless))
    bomb = bytes([257 - 128, 0]) * 5_000_000
    return [
        Case("rle_bomb_beyond_its_size", lambda: of_rle(rle([bomb, bomb])), Reason.MALFORMED, 14),
        Case("rle_bomb_of_90_megapixels",
             lambda: of_rle(rle([bomb[: 2 * 90_000_000 // 128]]), stored=RAMP.astype(np.uint8), bits=8,
                            Rows=9000, Columns=10000),
             Reason.BLANK_IMAGE, 14),
        Case("rle_of_no_segment", lambda: of_rle(rle([])), Reason.MALFORMED, 14),
        Case("rle_of_four_billion_segments", lambda: of_rle(rle([high, low], count=2**32 - 1)),
             RIGHT, 14),
        Case("rle_of_two_segments", lambda: of_rle(rle([high, low])), RIGHT, 14),
        Case("rle_of_fifteen_segments", lambda: of_rle(rle([high] * 15)), Reason.MALFORMED, 14),
        Case("rle_segments_beyond_the_end", lambda: of_rle(rle([high, low], offsets=[64, 2**31])),
             Reason.MALFORMED, 14),
        Case("rle_segments_backwards", lambda: of_rle(rle([high, low], offsets=[64 + len(high), 64])),
             Reason.MALFORMED, 14),
        Case("rle_header_cut", lambda: of_rle(rle([high, low])[:40]), Reason.MALFORMED, 13),
        Case("rle_of_too_few_bytes", lambda: of_rle(rle([high[:4], low[:4]])), Reason.MALFORMED, 13),
    ]  # fmt: skip


def fragment_cases() -> list[Case]:
    """Offset tables and fragments that lie; where each frame is one fragment, nobody needs a table."""
    j2k, second = two_items()
    jpeg = baseline_jpeg()
    two = Shown(frames=2, pixels=LEVELS, last=LEVELS[::-1])
    first = len(j2k) + 8
    eight = {"stored": RAMP.astype(np.uint8), "bits": 8, "WindowCenter": "128", "WindowWidth": "256"}
    return [
        Case("offset_table_right", lambda: two_fragments(offsets([0, first])), two, 8),
        Case("offset_table_absent", lambda: two_fragments(b""), two, 8),
        Case("offset_table_points_beyond_the_end", lambda: two_fragments(offsets([0, 2**32 - 2])),
             two, 14),
        Case("offset_table_points_into_a_frame", lambda: two_fragments(offsets([6, 20])),
             two, 14),
        Case("offset_table_of_one_frame_for_two", lambda: two_fragments(offsets([0])), two, 14),
        Case("offset_table_of_odd_length", lambda: two_fragments(b"\0\0"), two, 14),
        Case("offset_table_of_zeros", lambda: two_fragments(offsets([0, 0])), two, 14),
        Case("offset_table_of_a_million_frames", lambda: two_fragments(offsets([0] * 1_000_000)),
             two, 14),
        Case("extended_offsets_right",
             lambda: extended_offsets([0, first], [len(j2k), len(second)]), two, 8),
        Case("extended_offsets_beyond_the_end",
             lambda: extended_offsets([0, 2**63], [len(j2k), len(second)]), two, 14),
        Case("extended_offsets_of_terabytes",
             lambda: extended_offsets([0, first], [2**62, 2**62]), two, 14),
        Case("fragment_of_no_length", lambda: of_fragments(uid.JPEG2000Lossless, [b""]),
             Reason.MALFORMED, 13),
        Case("ten_thousand_fragments_of_no_length",
             lambda: of_fragments(uid.JPEG2000Lossless, [b""] * 10_000), Reason.MALFORMED, 13),
        Case("fragments_of_no_length_around_the_frame",
             lambda: of_fragments(uid.JPEG2000Lossless, [b"", j2k, b""]), RIGHT, 13),
        Case("fragment_of_undefined_length",
             lambda: with_bytes(of_fragments(uid.JPEG2000Lossless, [j2k]),
                                b"\xfe\xff\x00\xe0" + struct.pack("<L", len(j2k)),
                                b"\xfe\xff\x00\xe0\xff\xff\xff\xff"),
             Reason.TRUNCATED, 13),
        Case("frame_in_many_fragments",
             lambda: of_fragments(uid.JPEG2000Lossless, [j2k[at : at + 2] for at in range(0, len(j2k), 2)]),
             RIGHT, 8),
        Case("baseline_in_three_fragments",
             lambda: of_fragments(uid.JPEGBaseline8Bit, [jpeg[:100], jpeg[100:300], jpeg[300:]], **eight),
             Shown(), 8),
        Case("no_fragment_at_all", lambda: of_fragments(uid.JPEG2000Lossless, []), Reason.TRUNCATED, 13),
        Case("native_of_undefined_length",
             lambda: with_bytes(plain(), b"\xe0\x7f\x10\x00OW\0\0\0\x08\0\0",
                                b"\xe0\x7f\x10\x00OW\0\0\xff\xff\xff\xff"),
             Reason.MALFORMED, 13),
        Case("compressed_of_defined_length",
             lambda: with_bytes(of_codestream(uid.JPEG2000Lossless, j2k),
                                b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff",
                                b"\xe0\x7f\x10\x00OB\0\0" + struct.pack("<L", len(j2k))),
             Reason.MALFORMED, 13),
    ]  # fmt: skip


def structure_cases() -> list[Case]:
    """Data sets that do not end, and files that are two things at once."""
    text = ("Findings: none. " * 400).encode()
    jpeg = baseline_jpeg(comment=b"x" * 200)
    return [
        Case("deflate_bomb", lambda: deflated_zeros(film(), megabytes=1000), Reason.TOO_LARGE, 14),
        Case("deflated_text", lambda: deflated(text), Reason.MALFORMED, 14),
        Case("deflated_nothing", lambda: deflated(b""), Reason.TRUNCATED, 14),
        Case("nested_1000_deep", lambda: nested(1000, undefined=True), Reason.MALFORMED, 14),
        Case("nested_100000_deep", lambda: nested(100_000, undefined=True), Reason.MALFORMED, 14),
        # Sequences of a defined length can be passed over unread.
        Case("nested_1000_deep_of_defined_length", lambda: nested(1000, undefined=False), RIGHT, 14),
        Case("nested_100000_deep_of_defined_length", lambda: nested(100_000, undefined=False), RIGHT, 14),
        Case("nested_100000_deep_in_functional_groups",
             lambda: nested(100_000, undefined=True, tag=b"\x00\x52\x30\x92"), Reason.MALFORMED, 14),
        Case("element_of_four_gigabytes",
             lambda: with_bytes(plain(StudyComments="y" * 40), b"LT\x28\x00", b"UT\x28\x00")
             .replace(b"UT\x28\x00yyyy", b"UT\0\0\xf0\xff\xff\xff"), Reason.TRUNCATED, 14),
        Case("sequence_without_an_end",
             lambda: with_bytes(plain(), b"\x10\x00\x10\x00PN",
                                b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\x10\x00\x10\x00PN"),
             Reason.MALFORMED, 14),
        Case("item_longer_than_its_sequence",
             lambda: with_bytes(plain(), b"\x10\x00\x10\x00PN",
                                b"\x00\x52\x29\x92SQ\0\0\x08\0\0\0\xfe\xff\x00\xe0\xf0\xff\xff\x7f\x10\x00\x10\x00PN"),
             RIGHT, 14),
        Case("zeros_after_the_prefix", lambda: bytes(128) + b"DICM" + bytes(10_000), Reason.MALFORMED, 14),
        Case("ones_after_the_prefix", lambda: bytes(128) + b"DICM" + b"\xff" * 10_000, Reason.MALFORMED, 14),
        Case("text_after_the_prefix", lambda: bytes(128) + b"DICM" + text, Reason.MALFORMED, 14),
        Case("jpeg_with_the_prefix_in_its_comment",
             lambda: jpeg[:128] + b"DICM" + jpeg[132:], Reason.MALFORMED, 12),
        Case("tiff_in_the_preamble", lambda: with_preamble(b"II*\0\x08\0\0\0"), RIGHT, 12),
        Case("jpeg_in_the_preamble", lambda: with_preamble(jpeg[:128]), RIGHT, 12),
        Case("program_in_the_preamble", lambda: with_preamble(b"MZ\x90\0" + bytes(56) + b"\x40"), RIGHT, 12),
        Case("implicit_without_meta",
             lambda: without_preamble(written(film(), uid.ImplicitVRLittleEndian)), RIGHT, 12),
        Case("explicit_without_meta", lambda: without_preamble(plain()), RIGHT, 12),
        Case("big_endian_without_meta", lambda: without_preamble(big_endian()), RIGHT, 12),
        Case("big_endian", big_endian, RIGHT, 1),
        Case("preamble_without_meta", lambda: plain()[:132] + without_preamble(plain()), RIGHT, 12),
        Case("prefix_without_preamble", lambda: plain()[128:], Reason.NOT_AN_IMAGE, 12),
        Case("meta_without_a_transfer_syntax",
             lambda: plain()[:132] + b"\x02\0\x02\0UI\x02\x001\0" + without_preamble(plain()), RIGHT, 12),
        Case("compressed_without_meta",
             lambda: without_preamble(lossless(film(), RAMP, uid.RLELossless)), Reason.UNSUPPORTED_CODEC, 12),
        Case("explicit_named_implicit", lambda: of_syntax(uid.ImplicitVRLittleEndian), RIGHT, 12),
        Case("native_named_big_endian", lambda: of_syntax(uid.ExplicitVRBigEndian), Reason.MALFORMED, 12),
        Case("trailing_garbage", lambda: plain() + text, RIGHT, 13),
        Case("pixel_data_twice", lambda: plain() + plain()[plain().index(b"\xe0\x7f\x10\x00") :], RIGHT, 13),
    ]  # fmt: skip


def kind_cases() -> list[Case]:
    """Objects that are no picture to search by, and syntaxes without a decoder."""
    no_pixels = {
        "structured_report": uid.ComprehensiveSRStorage,
        "presentation_state": uid.GrayscaleSoftcopyPresentationStateStorage,
        "key_objects": uid.KeyObjectSelectionDocumentStorage,
        "rt_plan": uid.RTPlanStorage,
        "rt_structures": uid.RTStructureSetStorage,
        "waveform": uid.TwelveLeadECGWaveformStorage,
        "raw_data": uid.RawDataStorage,
    }
    pixels = {
        "segmentation": uid.SegmentationStorage,
        "label_map": "1.2.840.10008.5.1.4.1.1.66.7",
        "rt_dose": uid.RTDoseStorage,
        "parametric_map": uid.ParametricMapStorage,
    }
    slide = uid.VLWholeSlideMicroscopyImageStorage
    words = ["DERIVED", "PRIMARY"]
    cases = [
        Case(f"{name}_is_no_picture", functools.partial(of_class, kind), Reason.NON_IMAGE_DICOM, 10)
        for name, kind in no_pixels.items()
    ] + [
        Case(f"{name}_is_no_picture", functools.partial(plain, SOPClassUID=kind), Reason.NON_IMAGE_DICOM, 10)
        for name, kind in pixels.items()
    ]
    cases += [
        Case("encapsulated_pdf_is_no_picture",
             lambda: of_class(uid.EncapsulatedPDFStorage, EncapsulatedDocument=b"%PDF-1.7 Doe^Jane",
                              MIMETypeOfEncapsulatedDocument="application/pdf"),
             Reason.NON_IMAGE_DICOM, 10),
        Case("directory_is_no_picture",
             lambda: of_class(uid.MediaStorageDirectoryStorage, DirectoryRecordSequence=Sequence()),
             Reason.NON_IMAGE_DICOM, 10),
        Case("segmentation_of_60000_squared",
             lambda: plain(SOPClassUID=uid.SegmentationStorage, Rows=60000, Columns=60000),
             Reason.NON_IMAGE_DICOM, 10),
        Case("localizer", lambda: plain(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
             Reason.LABEL_OR_LOCALIZER, 11),
        Case("localizer_in_lower_case", lambda: plain(ImageType=["original", "primary", "localizer "]),
             Reason.LABEL_OR_LOCALIZER, 11),
        Case("slide_label",
             lambda: written(image_dataset(LEVELS, sop_class=slide, ImageType=[*words, "LABEL", "NONE"])),
             Reason.LABEL_OR_LOCALIZER, 11),
        Case("slide_overview",
             lambda: written(image_dataset(LEVELS, sop_class=slide, ImageType=[*words, "OVERVIEW", "NONE"])),
             Reason.LABEL_OR_LOCALIZER, 11),
        Case("slide_volume",
             lambda: written(image_dataset(LEVELS, sop_class=slide, ImageType=[*words, "VOLUME", "NONE"])),
             RIGHT, 11),
        Case("jpip", lambda: of_syntax("1.2.840.10008.1.2.4.94", b"http://Doe^Jane"),
             Reason.UNSUPPORTED_CODEC, 2),
        Case("private_syntax", lambda: of_syntax("1.2.840.113619.5.2"), Reason.UNSUPPORTED_CODEC, 2),
        Case("syntax_that_is_no_identifier", lambda: of_syntax("Doe^Jane"), Reason.UNSUPPORTED_CODEC, 2),
    ]  # fmt: skip
    videos = {"mpeg_2": uid.MPEG2MPML, "mpeg_4": uid.MPEG4HP41, "hevc": uid.HEVCMP51}
    for name, syntax in videos.items():
        build = functools.partial(of_syntax, syntax, b"\0\0\1\xb3" * 50)
        cases.append(Case(f"{name}_video", build, Reason.UNSUPPORTED_CODEC, 2))
    return cases


def pixel_module_cases() -> list[Case]:
    """Contradictions about what a pixel is."""
    unusable = {
        "rows_0": {"Rows": 0},
        "columns_0": {"Columns": 0},
        "rows_absent": {"Rows": None},
        "photometric_absent": {"PhotometricInterpretation": None},
        "bits_allocated_absent": {"BitsAllocated": None},
        "bits_allocated_0": {"BitsAllocated": 0},
        "bits_allocated_12": {"BitsAllocated": 12},
        "bits_stored_above_allocated": {"BitsStored": 40, "HighBit": 39},
        "samples_0": {"SamplesPerPixel": 0},
        "signed_7": {"PixelRepresentation": 7},
    }
    cases = [
        Case(f"{name}_is_malformed", functools.partial(plain, **elements), Reason.MALFORMED, 13)
        for name, elements in unusable.items()
    ]
    odd = np.pad(RAMP.astype(np.int32), 0)
    return [
        *cases,
        Case("bits_allocated_65535", lambda: plain(BitsAllocated=65535), Reason.TRUNCATED, 14),
        Case("samples_2_of_grey", lambda: plain(SamplesPerPixel=2), Reason.TRUNCATED, 14),
        Case("samples_3_of_grey", lambda: plain(SamplesPerPixel=3), Reason.TRUNCATED, 14),
        Case("samples_65535", lambda: plain(SamplesPerPixel=65535), Reason.TRUNCATED, 14),
        Case("samples_2_with_the_bytes",
             lambda: plain(SamplesPerPixel=2, PixelData=RAMP.tobytes() * 2), Reason.MALFORMED, 9),
        Case("frames_0", lambda: plain(NumberOfFrames=0), RIGHT, 14),
        Case("frames_minus_1", lambda: with_text("NumberOfFrames", "-1"), Reason.MALFORMED, 14),
        Case("frames_in_words", lambda: with_text("NumberOfFrames", "two"), Reason.MALFORMED, 14),
        Case("cmyk", lambda: colour(SamplesPerPixel=4, photometric="CMYK", PixelData=bytes(range(256)) * 16),
             Reason.MALFORMED, 9),
        Case("rgb_of_one_sample", lambda: plain(PhotometricInterpretation="RGB"),
             Reason.UNSUPPORTED_CODEC, 9),
        Case("unknown_colour_space", lambda: colour(photometric="HSV"), Reason.UNSUPPORTED_CODEC, 9),
        Case("planar_configuration_7", lambda: colour(PlanarConfiguration=7), Reason.MALFORMED, 9),
        Case("planar_configuration_absent", lambda: colour(PlanarConfiguration=None), RIGHT, 9),
        Case("planar_grey", lambda: plain(PlanarConfiguration=1), RIGHT, 9),
        Case("bits_stored_absent",
             lambda: plain(BitsStored=None, HighBit=None), RIGHT, 13),
        Case("signed_monochrome1",
             lambda: plain(stored=(RAMP.astype(np.int16) - 2048), photometric="MONOCHROME1",
                           WindowCenter="0", WindowWidth="4096"),
             Shown(pixels=255 - LEVELS), 4),
        Case("one_bit",
             lambda: plain(stored=RAMP.astype(np.uint8)[:, :4], bits=1, BitsAllocated=1, Columns=32,
                           SOPClassUID=uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
                           WindowCenter=None, WindowWidth=None),
             Shown(flags=("window_fallback", "burned_in_suspected")), 9),
        Case("signed_32_bit",
             lambda: plain(stored=odd * 1000, bits=32, WindowCenter="2047500.5", WindowWidth="4095001"),
             RIGHT, 1),
        Case("64_bit", lambda: plain(stored=odd.astype(np.int64), bits=64), RIGHT, 1),
        Case("float", lambda: floats("FloatPixelData", np.float32), RIGHT, 1),
        Case("double", lambda: floats("DoubleFloatPixelData", np.float64), RIGHT, 1),
        Case("flat", lambda: plain(stored=np.full_like(RAMP, 7)), Reason.BLANK_IMAGE, 6),
        Case("one_pixel", lambda: plain(stored=RAMP[:1, :1]), Reason.BLANK_IMAGE, 6),
    ]  # fmt: skip


def level_cases() -> list[Case]:
    """Windows, slopes, lookup tables and palettes that lie."""
    empty_lut = lookup_table([0, 0, 16], [1, 2, 3], "OW")
    fallbacks = {
        "window_width_not_a_number": lambda: with_text("WindowWidth", "nan"),
        "window_center_infinite": lambda: with_text("WindowCenter", "inf"),
        "window_center_beyond_floats": lambda: with_text("WindowCenter", "1e400"),
        "window_width_in_words": lambda: with_text("WindowWidth", "wide"),
        "window_width_negative": lambda: with_text("WindowWidth", "-5"),
        "slope_not_a_number": lambda: with_text("RescaleSlope", "nan", RescaleIntercept="0"),
        "slope_infinite": lambda: with_text("RescaleSlope", "inf", RescaleIntercept="0"),
        "intercept_not_a_number": lambda: with_text("RescaleIntercept", "nan", RescaleSlope="1"),
        "voi_lut_of_no_entry": lambda: plain(VOILUTSequence=empty_lut, WindowCenter=None, WindowWidth=None),
    }
    cases = [Case(name, build, FALLBACK, 6) for name, build in fallbacks.items()]
    ramp_of_256 = np.repeat((RAMP // 16).astype(np.uint8)[..., np.newaxis], 3, axis=-1)
    short = {f"{colour}PaletteColorLookupTableData": b"\1\2" * 5 for colour in ("Red", "Green", "Blue")}
    huge = {f"{colour}PaletteColorLookupTableDescriptor": [0, 0, 16] for colour in ("Red", "Green", "Blue")}
    bits = {
        f"{colour}PaletteColorLookupTableDescriptor": [256, 0, 65535] for colour in ("Red", "Green", "Blue")
    }
    return [
        *cases,
        Case("voi_lut_of_65535_bits",
             lambda: plain(VOILUTSequence=lookup_table([4096, 0, 65535], list(range(4096)), "OW")), RIGHT, 5),
        Case("voi_lut_without_data", lambda: plain(VOILUTSequence=sequence_item(LUTDescriptor=[4, 0, 8])),
             RIGHT, 5),
        Case("voi_lut_without_items", lambda: plain(VOILUTSequence=Sequence()), RIGHT, 5),
        Case("slope_beyond_floats",
             lambda: with_text("RescaleSlope", "1e308", RescaleIntercept="0"), Shown(), 6),
        Case("modality_lut_of_no_entry", lambda: plain(ModalityLUTSequence=empty_lut), FALLBACK, 5),
        Case("palette", palette, Shown(pixels=ramp_of_256), 9),
        Case("palette_too_short", lambda: palette(**short), Reason.MALFORMED, 9),
        Case("palette_of_65536_entries_in_256", lambda: palette(**huge), Reason.MALFORMED, 9),
        Case("palette_of_65535_bits", lambda: palette(**bits), Shown(pixels=ramp_of_256), 9),
        Case("palette_without_green", lambda: palette(GreenPaletteColorLookupTableData=None),
             Reason.MALFORMED, 9),
        Case("palette_without_descriptors",
             lambda: palette(RedPaletteColorLookupTableDescriptor=None), Reason.MALFORMED, 9),
        Case("segmented_palette_bomb", lambda: segmented_palette([0, 1, 0] + [1, 65535, 9] * 10_000),
             Reason.MALFORMED, 14),
        # Each indirect segment repeats all before it.
        Case("segmented_palette_that_repeats_itself",
             lambda: segmented_palette([0, 1, 0, *[2, 60000, 0, 0] * 10_000]), Reason.MALFORMED, 14),
        Case("segmented_palette_that_points_nowhere", lambda: segmented_palette([2, 9, 65535, 65535]),
             Reason.MALFORMED, 9),
        Case("segmented_palette_of_an_unknown_kind", lambda: segmented_palette([9, 9, 9]),
             Reason.MALFORMED, 9),
        Case("functional_groups_of_no_frame", lambda: enhanced([]),
             Shown(frames=2, pixels=LEVELS, last=LEVELS[::-1]), 7),
        Case("functional_groups_of_one_frame_for_two",
             lambda: enhanced([dataset_of(FrameVOILUTSequence=sequence_item(**WINDOW))]),
             Shown(frames=2, pixels=LEVELS, last=LEVELS[::-1]), 7),
        Case("functional_groups_that_are_empty",
             lambda: enhanced([dataset_of(FrameVOILUTSequence=Sequence()), Dataset()]),
             Shown(frames=2, pixels=LEVELS, last=LEVELS[::-1]), 7),
    ]  # fmt: skip


def dicom_cases() -> list[Case]:
    return [
        *cut_cases(),
        *size_cases(),
        *codestream_cases(),
        *rle_cases(),
        *fragment_cases(),
        *structure_cases(),
        *kind_cases(),
        *pixel_module_cases(),
        *level_cases(),
    ]
