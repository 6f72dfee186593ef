"""Every error the product raises on purpose.

Each message says where, what, and what to do next, on one line. A library's own exception is
translated once, at the module that is the home of that library.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a file or frame has no embedding; stored in the gallery and shown for queries alike."""

    NOT_AN_IMAGE = "not_an_image"
    NON_IMAGE_DICOM = "non_image_dicom"
    UNSUPPORTED_CODEC = "unsupported_codec"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    DECODE_TIMEOUT = "decode_timeout"
    BLANK_IMAGE = "blank_image"
    LABEL_OR_LOCALIZER = "label_or_localizer"
    UNREADABLE = "unreadable"
    DUPLICATE_INSTANCE = "duplicate_instance"


class MedSiglipSearchError(Exception):
    """The base of all errors below; `exit_code` is what the command line ends with."""

    exit_code = 1


class Unreadable(MedSiglipSearchError):
    """A file or frame that cannot become a picture.

    The message holds no path and no text from the file: either can name a patient.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["Unreadable"], tuple[Reason, str]]:
        # As it comes from a worker process; an exception is otherwise made anew from its message alone.
        return type(self), (self.reason, str(self))


class DecoderUnavailable(MedSiglipSearchError):
    """No process that decodes pictures can be started."""


class EncoderUnavailable(MedSiglipSearchError):
    """An encoder that is unknown, gated, incomplete or of another architecture."""


class IndexUnavailable(MedSiglipSearchError):
    """A kind of index that this machine, or this build of FAISS, does not have."""


class EncoderFailed(MedSiglipSearchError):
    """An encoder that broke down on pictures it was given."""


class ExplainerUnavailable(MedSiglipSearchError):
    """An explainer that is unknown, gated, too large for this machine, or must not be sent pictures."""


class ExplainerFailed(MedSiglipSearchError):
    """A language model that broke down on what it was asked.

    said: its answer until then.
    """

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


class ExplainerRefused(ExplainerFailed):
    """A language model that is in order and refuses one question: too long, or not allowed."""


class InvalidQuery(MedSiglipSearchError):
    """A query, filter or count that cannot be answered as it stands."""

    exit_code = 2


class UnknownImage(InvalidQuery):
    """An image id that the gallery does not have."""


class CursorExpired(InvalidQuery):
    """A page of a result was asked for that an older version of the gallery gave."""


class ArchiveNotFound(MedSiglipSearchError):
    """An archive that does not exist or holds no file."""

    exit_code = 2


class InvalidMetadata(MedSiglipSearchError):
    """A sidecar table that cannot be joined to the archive."""

    exit_code = 2


class InvalidLabelSet(MedSiglipSearchError):
    """A label set that cannot be used as it is written, or of no such name."""

    exit_code = 2


class InvalidTruth(MedSiglipSearchError):
    """A truth table that cannot be joined to a gallery or to labels."""

    exit_code = 2


class TooFewExamples(MedSiglipSearchError):
    """A truth that holds too few images of a label for what is to be learnt from it."""

    exit_code = 2


class UnusableFile(MedSiglipSearchError):
    """A file that cannot be imported as it stands, or that an export cannot write."""

    exit_code = 2


class GalleryError(MedSiglipSearchError):
    """The base of all errors about the store."""


class GalleryNotFound(GalleryError):
    """No gallery at this path, or something else stands there."""

    exit_code = 2


class GalleryDamaged(GalleryError):
    """A gallery whose files do not hold what they must."""

    exit_code = 4


class GalleryLocked(GalleryError):
    """Another process is writing to the gallery."""

    exit_code = 5


class GalleryOutdated(GalleryError):
    """The version that was opened has been removed since; the gallery itself is sound."""


class GalleryMismatch(GalleryError):
    """A gallery of another encoder, preprocessing or format version."""

    exit_code = 6


class ServiceError(MedSiglipSearchError):
    """The base of what a service answers a request with instead of a result.

    The message goes to whoever asked: it repeats nothing of what they sent.
    """


class Unauthenticated(ServiceError):
    """A request that does not show who it is from, or shows what is not valid any more."""


class Forbidden(ServiceError):
    """A request of somebody who may not have this."""


class NotFound(ServiceError):
    """Something that is not there, or that must not be told to be there."""


class Gone(ServiceError):
    """Something that was kept for a while, and is not any more."""


class Unavailable(ServiceError):
    """The service cannot answer now, and will when what the message says is over."""


class Conflict(ServiceError):
    """A request that does not go with the state of what it is about."""


class TooManyRequests(ServiceError):
    """A request beyond what one user may ask for. retry_after_s: when to come again."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooLarge(ServiceError):
    """A request, or something in it, that is larger than the service takes."""


class AuditUnavailable(ServiceError):
    """The audit cannot be written, and nothing is done that it would not have."""
