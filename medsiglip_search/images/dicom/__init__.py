"""DICOM files: what they are, what they say, and their frames one by one. The home of pydicom."""

import logging
import warnings

from medsiglip_search.images.dicom.file import DicomFile

__all__ = ["DicomFile"]

# pydicom quotes elements and file names in its warnings and logs; either can name a patient.
warnings.filterwarnings("ignore", module=r"pydicom\.")
logging.getLogger("pydicom").propagate = False
