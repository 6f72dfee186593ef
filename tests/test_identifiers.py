import hashlib
import hmac
from dataclasses import replace

import pytest
from galleries import meta

from medsiglip_search.errors import GalleryDamaged
from medsiglip_search.gallery import Gallery
from medsiglip_search.identifiers import PSEUDONYM_DIGITS, Pseudonymizer, identifiers_for
from medsiglip_search.records import Attributes

KEY = bytes(range(32))


def test_pseudonym_is_the_start_of_the_hmac_over_kind_and_value():
    expected = hmac.new(KEY, b"patient\0PAT-007", hashlib.sha256).hexdigest()[:PSEUDONYM_DIGITS]
    assert Pseudonymizer(KEY).pseudonym("patient", "PAT-007") == expected


def test_two_keys_and_two_kinds_give_unlike_pseudonyms():
    names = Pseudonymizer(KEY)
    assert (
        len(
            {
                names.pseudonym("patient", "1.2.3"),
                names.pseudonym("study", "1.2.3"),
                Pseudonymizer(bytes(32)).pseudonym("patient", "1.2.3"),
            }
        )
        == 3
    )


def test_padding_of_a_dicom_value_does_not_make_another_patient():
    names = Pseudonymizer(KEY)
    assert names.pseudonym("patient", "PAT-007 ") == names.pseudonym("patient", "PAT-007")
    assert names.pseudonym("series", "1.2.3\0") == names.pseudonym("series", "1.2.3")


def test_attributes_keep_everything_but_the_identifiers():
    names = Pseudonymizer(KEY)
    attributes = Attributes(
        modality="CT", year=2021, patient="Doe^Jane", study="1.2", series="1.3", instance="1.4"
    )
    replaced = names.attributes(attributes)
    assert replaced == Attributes(
        modality="CT",
        year=2021,
        patient=names.pseudonym("patient", "Doe^Jane"),
        study=names.pseudonym("study", "1.2"),
        series=names.pseudonym("series", "1.3"),
        instance=names.pseudonym("instance", "1.4"),
    )
    assert "Doe" not in repr(replaced)


@pytest.mark.parametrize("nothing", [None, "", "  ", "\0"])
def test_patients_without_an_identifier_are_not_one_patient(nothing):
    assert Pseudonymizer(KEY).attributes(Attributes(patient=nothing)).patient is None


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="5 bytes"):
        Pseudonymizer(b"short")


FULL = Attributes(
    modality="CT", position_mm=1.5, patient=" PAT-007 ", study="1.2\0", series="\0", instance="1.4"
)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("keep", replace(FULL, patient="PAT-007", study="1.2", series=None)),
        ("drop", Attributes(modality="CT", position_mm=1.5)),
    ],
)
def test_identifiers_are_kept_without_padding_or_dropped(tmp_path, choice, expected):
    gallery = Gallery.create(tmp_path / "g", replace(meta(), identifiers=choice))
    (gallery.path / "secret.key").unlink()  # only pseudonyms need it
    assert identifiers_for(gallery).attributes(FULL) == expected


def test_identifiers_become_pseudonyms_under_the_gallerys_own_key(tmp_path):
    gallery = Gallery.create(tmp_path / "g", meta())
    assert identifiers_for(gallery).attributes(FULL) == Pseudonymizer(gallery.secret_key).attributes(FULL)
    (gallery.path / "secret.key").unlink()
    with pytest.raises(GalleryDamaged, match=r"secret\.key is lost"):
        identifiers_for(gallery)
