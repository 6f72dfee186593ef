"""What the synthetic archive can show: modalities, findings and the words for them. One table."""

from dataclasses import dataclass
from typing import Literal

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that can be seen.

    phrases: wordings, the name first; each reads well after "no", "there is" and a side.
    sided: it is on the patient's left or right.
    """

    name: str
    phrases: tuple[str, ...]
    sided: bool = False


@dataclass(frozen=True, slots=True)
class Modality:
    """One way of taking pictures.

    code: DICOM's (PS3.3 C.7.3.1.1.1). normal: wordings for a picture without findings, its label first.
    """

    code: str
    name: str
    phrases: tuple[str, ...]
    normal: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Sign:
    """One finding in one study.

    side: the patient's, so the left is on the right of a radiograph.
    extent: 0 is the smallest that is drawn, 1 the largest. place: 0..1 across and down its region.
    """

    finding: str
    side: Side | None
    extent: float
    place: tuple[float, float]

    @property
    def label(self) -> str:
        return f"{self.side} {self.finding}" if self.side else self.finding

    @property
    def size(self) -> str:
        return "small" if self.extent < 1 / 3 else "large" if self.extent > 2 / 3 else "moderate"


MODALITIES: tuple[Modality, ...] = (
    Modality(
        "CR",
        "chest radiograph",
        ("chest radiograph", "chest x-ray", "frontal chest film", "radiograph of the chest"),
        (
            "normal chest radiograph",
            "normal chest x-ray",
            "no acute cardiopulmonary process",
            "lungs are clear and heart size is normal",
        ),
        (
            Finding(
                "pleural effusion",
                ("pleural effusion", "pleural fluid", "effusion at the lung base"),
                sided=True,
            ),
            Finding(
                "pneumothorax", ("pneumothorax", "collapsed lung", "air in the pleural space"), sided=True
            ),
            Finding(
                "consolidation",
                ("consolidation", "airspace consolidation", "patchy airspace opacity", "pneumonia"),
                sided=True,
            ),
            Finding(
                "pulmonary nodule",
                ("pulmonary nodule", "lung nodule", "solitary nodule", "round lung lesion"),
                sided=True,
            ),
            Finding(
                "pacemaker", ("pacemaker", "cardiac device", "implanted pacemaker with lead"), sided=True
            ),
            Finding("cardiomegaly", ("cardiomegaly", "enlarged heart", "enlarged cardiac silhouette")),
            Finding(
                "hilar enlargement", ("hilar enlargement", "bilateral hilar lymphadenopathy", "enlarged hila")
            ),
        ),
    ),
    Modality(
        "CT",
        "head CT",
        ("head CT", "CT of the head", "brain CT slice", "axial CT of the brain"),
        (
            "normal head CT",
            "normal CT of the brain",
            "no acute intracranial abnormality",
            "unremarkable brain and skull",
        ),
        (
            Finding(
                "intracerebral hemorrhage",
                ("intracerebral hemorrhage", "intraparenchymal bleed", "hyperdense brain hematoma"),
                sided=True,
            ),
            Finding(
                "infarct",
                ("infarct", "ischemic stroke", "hypodense infarction", "ischemic infarct"),
                sided=True,
            ),
            Finding(
                "subdural hematoma",
                ("subdural hematoma", "subdural collection", "crescent shaped subdural bleed"),
                sided=True,
            ),
            Finding(
                "lytic skull lesion",
                ("lytic skull lesion", "lytic lesion of the skull", "destructive calvarial lesion"),
                sided=True,
            ),
            Finding("hydrocephalus", ("hydrocephalus", "enlarged ventricles", "ventricular dilatation")),
        ),
    ),
    Modality(
        "OP",
        "fundus photograph",
        ("fundus photograph", "retinal photograph", "photograph of the fundus", "color fundus image"),
        (
            "normal fundus photograph",
            "normal fundus",
            "healthy retina",
            "no retinopathy and a healthy optic disc",
        ),
        (
            Finding(
                "retinal hemorrhage", ("retinal hemorrhage", "blot hemorrhages", "bleeding in the retina")
            ),
            Finding("hard exudates", ("hard exudates", "ring of hard exudates", "yellow lipid exudates")),
            Finding(
                "glaucomatous cupping", ("glaucomatous cupping", "enlarged optic cup", "optic disc cupping")
            ),
            Finding(
                "cotton wool spots", ("cotton wool spots", "fluffy white retinal patches", "soft exudates")
            ),
            Finding(
                "laser scars",
                ("laser scars", "panretinal photocoagulation scars", "laser burns in the periphery"),
            ),
        ),
    ),
    Modality(
        "DMS",
        "dermoscopy",
        ("dermoscopy", "dermoscopic image", "dermoscopy of the skin", "skin lesion photograph"),
        ("normal skin", "healthy skin without a lesion", "dermoscopy of normal skin", "no skin lesion"),
        (
            Finding("melanoma", ("melanoma", "malignant melanoma", "asymmetric irregular pigmented lesion")),
            Finding("nevus", ("nevus", "benign melanocytic nevus", "common mole", "symmetric brown mole")),
            Finding(
                "seborrheic keratosis",
                ("seborrheic keratosis", "keratosis with milia like cysts", "waxy keratosis"),
            ),
            Finding("basal cell carcinoma", ("basal cell carcinoma", "pearly lesion with branching vessels")),
            Finding("hemangioma", ("hemangioma", "vascular lesion with red lacunae", "cherry angioma")),
        ),
    ),
    Modality(
        "SM",
        "histology tile",
        ("histology tile", "histopathology", "hematoxylin and eosin section", "microscopy of tissue"),
        (
            "normal tissue",
            "normal glandular tissue",
            "histology without abnormality",
            "regular glands and stroma",
        ),
        (
            Finding(
                "carcinoma",
                ("carcinoma", "invasive tumor cells", "crowded atypical nuclei", "malignant epithelium"),
            ),
            Finding("necrosis", ("necrosis", "necrotic tissue", "area of cell death")),
            Finding(
                "lymphocytic infiltrate", ("lymphocytic infiltrate", "lymphocytes", "chronic inflammation")
            ),
            Finding("mucin pool", ("mucin pool", "extracellular mucin", "lake of mucus")),
            Finding("fibrosis", ("fibrosis", "fibrotic scar tissue", "dense collagen bands")),
        ),
    ),
)

BY_CODE = {modality.code: modality for modality in MODALITIES}

BODY_PARTS = {"CR": "CHEST", "CT": "HEAD"}
"""What the DICOM files say that they show; photographs say nothing."""
