"""Label sets in YAML: what a good one becomes, and the line of each mistake in a bad one."""

import re
from pathlib import Path

import pytest

from medsiglip_search.demo.findings import MODALITIES
from medsiglip_search.errors import InvalidLabelSet
from medsiglip_search.labels import Label
from medsiglip_search.labels.opening import open_label_set
from medsiglip_search.labels.reading import MAX_BYTES, parse_label_set, read_label_set
from medsiglip_search.labels.shipped import shipped_label_set, shipped_names

MODEL = Path(__file__).parents[2] / "shared" / "medsiglip-448"
CHEXPERT = [
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
]

FINDINGS = """\
name: chest
mode: findings
source: a report
notes: of the chest
templates: {present: ["{}", "film with {}"], absent: ["no {}"]}
absent: [normal study]
labels:
  effusion:
    present: [effusion, pleural  fluid]
    absent: &clear [clear lungs]
    threshold: 0.4
  nodule: {present: nodule, absent: *clear}
"""


def test_findings_have_their_templates_filled_in_and_share_what_is_absent() -> None:
    found = parse_label_set(FINDINGS, "a.yaml", "a")
    assert (found.name, found.mode, found.source, found.notes) == (
        "chest",
        "findings",
        "a report",
        "of the chest",
    )
    effusion, nodule = found.labels
    assert effusion == Label(
        "effusion",
        ("effusion", "film with effusion", "pleural fluid", "film with pleural fluid"),
        ("clear lungs", "no effusion", "no pleural fluid", "normal study"),
        0.4,
    )
    assert nodule.absent == ("clear lungs", "no nodule", "normal study")
    assert nodule.threshold is None


def test_exclusive_labels_are_lists_of_prompts_or_have_thresholds_or_are_plain_names() -> None:
    templates = "mode: exclusive\ntemplates: ['{}', 'an image of {}']\n"
    written = templates + "labels:\n  a: [x, y]\n  b: {prompts: z, threshold: 1}\n"
    found = parse_label_set(written, "a.yaml", "own")
    assert found.name == "own"
    assert found.labels == (
        Label("a", ("x", "an image of x", "y", "an image of y")),
        Label("b", ("z", "an image of z"), threshold=1.0),
    )
    assert parse_label_set("mode: exclusive\nlabels: {a: x, b: y}\n", "a", "a").labels[0] == Label(
        "a", ("x",)
    )
    plain = parse_label_set("mode: exclusive\nlabels: [acne, eczema]\n", "a.yaml", "own")
    assert plain.labels == (Label("acne", ("acne",)), Label("eczema", ("eczema",)))


def test_the_digest_is_of_what_scores_depend_on() -> None:
    first = parse_label_set(FINDINGS, "a.yaml", "a")
    renamed = parse_label_set(FINDINGS.replace("a report", "another").replace("0.4", "0.6"), "b.yaml", "b")
    reworded = parse_label_set(FINDINGS.replace("clear lungs", "lungs are clear"), "a.yaml", "a")
    assert first.digest == renamed.digest != reworded.digest


GOOD = "mode: findings\nlabels:\n  a: {present: [x], absent: [y]}\n"
OPTIONS = "mode: exclusive\nlabels:\n  a: [x]\n  b: [y]\n"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "empty; write mode and labels"),
        ("mode: findings\nlabels: [", "line 2: no YAML"),
        ("mode: findings\nlabels:\n  a: \a\n", "line 3: no YAML: special characters are not allowed"),
        (OPTIONS + 'notes: "\\UFFFFFFFF"\n', "line 5: no YAML"),
        (OPTIONS + 'notes: "\\U00110000"\n', "line 5: no YAML"),
        ("%YAML 1." + "9" * 5000 + "\n---\n" + OPTIONS, "line 1: no YAML"),
        (OPTIONS + "---\n" + OPTIONS, "line 5: no YAML: but found another document"),
        (OPTIONS.replace("[x]", '["\\ud800"]'), "line 3: the prompts of 'a': half a character"),
        ("- a\n", "line 1: a label set is a mapping"),
        ("mode: !!python/object:os.system {}\nlabels: [a, b]\n", "line 1: no mode"),
        ("mode: findings\nlabel: {}\n", "line 2: a label set has no label; write labels"),
        ("labels: [a, b]\n", "line 1: no mode; add `mode:`"),
        ("mode: finding\nlabels: {}\n", "line 1: no mode 'finding'; write findings or exclusive"),
        ("mode: findings\n", "line 1: no labels; add `labels:`"),
        ("mode: findings\nlabels: {}\n", "line 2: too few labels"),
        ("mode: exclusive\nlabels: [a]\n", "line 2: too few labels; write two or more"),
        ("mode: findings\nlabels: [a, b]\n", "line 2: labels is of another kind"),
        ("mode: findings\nlabels:\n  a: {absent: [y]}\n", "line 3: 'a' has no prompts; add `present:`"),
        ("mode: findings\nlabels:\n  a: {present: [], absent: [y]}\n", "line 3: present of 'a': no text"),
        (
            "mode: findings\nlabels:\n  a:\n    present:\n    absent: [y]\n",
            "line 4: present of 'a': nothing is written",
        ),
        (
            "mode: findings\nlabels:\n  a:\n    present: [x]\n    absent: [y, null]\n",
            "line 5: absent of 'a': nothing is written",
        ),
        ("mode: findings\nlabels:\n  a:\n", "line 3: 'a' has no prompts; write present and absent under it"),
        ("mode: exclusive\nlabels:\n  a: []\n  b: [y]\n", "line 3: the prompts of 'a': no text"),
        ("mode: exclusive\nlabels:\n  a:\n  b: [y]\n", "line 3: 'a' has no prompts; write them under it"),
        ("mode: findings\nlabels:\n  a: {present: [x]}\n", "line 3: 'a' has no absent prompts"),
        (GOOD + "  A: {present: [z], absent: [y]}\n", "line 4: the label 'A' stands in line 3 already"),
        (GOOD + "  a: {present: [z], absent: [y]}\n", "line 4: the label 'a' stands in line 3 already"),
        (
            "mode: exclusive\nlabels: [lymph-node, Lymph node]\n",
            "line 2: the label 'Lymph node' stands in line 2",
        ),
        ("mode: findings\nmode: findings\n", "line 2: mode stands there twice"),
        (
            "mode: exclusive\nlabels:\n  a:\n    - x\n    - X\n  b: [y]\n",
            "line 5: the prompts of 'a': 'X' stands there twi",
        ),
        ("mode: exclusive\nlabels:\n  a: [x]\n  b: [x]\n", "line 4: 'x' stands for 'a' and 'b'"),
        (
            "mode: findings\nlabels:\n  a: {present: [x], absent: [x]}\n",
            "line 3: 'x' is present and absent of 'a'",
        ),
        (
            "mode: findings\nlabels:\n  a: {present: [no], absent: [y]}\n",
            "line 3: present of 'a': YAML takes no for",
        ),
        (
            "mode: exclusive\nlabels:\n  1: [x]\n  b: [y]\n",
            'line 3: a name: YAML takes 1 for another thing than text; quote it: "1"',
        ),
        ("mode: exclusive\nlabels: [a, on]\n", "line 2: a name: YAML takes on for another thing than text"),
        ("mode: exclusive\nlabels: [a, ' ']\n", "line 2: a name: an empty text"),
        ("mode: exclusive\nlabels: [a, ]\nnotes:\n", "line 2: too few labels"),
        (OPTIONS + "notes:\n", "line 5: notes: nothing is written"),
        (
            "mode: findings\nlabels:\n  a: {present: [x], absent: [y], threshold: 1.2}\n",
            "line 3: a threshold is a pro",
        ),
        (
            "mode: findings\nlabels:\n  a: {present: [x], absent: [y], threshold: high}\n",
            "line 3: a threshold is a pro",
        ),
        (
            "mode: findings\nlabels:\n  a: {present: [x], absent: [y], threshold: .nan}\n",
            "line 3: a threshold is a pro",
        ),
        (
            "mode: findings\nlabels:\n  a: {prompts: [x]}\n",
            "line 3: prompts belongs to a set of another mode",
        ),
        (OPTIONS.replace("[x]", "{present: [x]}"), "line 3: present belongs to a set of another mode"),
        (OPTIONS + "absent: [z]\n", "line 5: absent is for findings, and the mode is exclusive"),
        (OPTIONS + "templates: [an image]\n", "line 5: the template 'an image' has not just one {}"),
        (OPTIONS + "templates: ['{} {}']\n", "line 5: the template '{} {}' has not just one {}"),
        (OPTIONS + "templates: ['{} {x}']\n", "line 5: the template '{} {x}' has not just one {}"),
        (GOOD + "templates: {presence: ['{}']}\n", "line 4: templates has no presence; write present"),
        (GOOD.replace("[y]", "[y], thresh: 1"), "line 3: the label 'a' has no thresh; write threshold"),
        ("mode: exclusive\nlabels: [a, " + "b" * 101 + "]\n", "line 2: a name of more than 100"),
        (
            'mode: exclusive\nlabels: [a, "b\\u0007"]\n',
            "line 2: a name with characters that cannot be printed",
        ),
        ("mode: exclusive\nlabels: [a, Abstain]\n", "line 2: abstain is the word for images left undecided"),
        (OPTIONS + "notes: {a: b}\n", "line 5: notes: text is missing"),
    ],
)
def test_mistakes_are_told_with_their_line(written: str, message: str) -> None:
    place = "a.yaml, " if message.startswith("line") else "a.yaml: "
    with pytest.raises(InvalidLabelSet, match="^" + re.escape(place + message)):
        parse_label_set(written, "a.yaml", "a")


def test_aliases_of_aliases_are_refused_before_they_grow() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))]
    with pytest.raises(InvalidLabelSet, match="more than 100000 entries"):
        parse_label_set("\n".join(lines), "a.yaml", "a")
    with pytest.raises(InvalidLabelSet, match=r"a\.yaml"):
        parse_label_set("mode: exclusive\nlabels: &a [x, *a]\n", "a.yaml", "a")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(InvalidLabelSet, match=r"a\.yaml"):
        parse_label_set("[" * 20_000, "a.yaml", "a")


def test_files_are_read_and_those_that_cannot_be_are_told_of(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("\ufeff" + OPTIONS, "utf-8")
    assert open_label_set(path).name == "own"
    with pytest.raises(InvalidLabelSet, match="cannot be read: no such file"):
        open_label_set(tmp_path / "none.yaml")
    path.write_bytes(OPTIONS.replace("x", "ä").encode("latin-1"))
    with pytest.raises(InvalidLabelSet, match="not UTF-8"):
        read_label_set(path)
    path.write_text("#" * (MAX_BYTES + 1))
    with pytest.raises(InvalidLabelSet, match="larger than 1 MiB"):
        read_label_set(path)
    with pytest.raises(InvalidLabelSet, match="cannot be read: is a directory"):
        read_label_set(tmp_path)


def test_a_shipped_name_is_no_file_s_or_folder_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("modality").mkdir()
    Path("body-part").write_text(OPTIONS, "utf-8")
    Path("own").write_text(OPTIONS, "utf-8")
    assert open_label_set("modality") == shipped_label_set("modality")
    assert open_label_set("body-part") == shipped_label_set("body-part")
    assert [label.name for label in open_label_set("./body-part").labels] == ["a", "b"]
    assert open_label_set("own").name == "own"


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_set_says_where_its_prompts_come_from(name: str) -> None:
    found = shipped_label_set(name)
    assert found.name == name
    assert found.source
    assert found.notes
    if name.rpartition("-")[2].isdigit():
        assert len(found.labels) == int(name.rpartition("-")[2])


def test_the_shipped_sets_are_there() -> None:
    assert set(shipped_names()) == {
        "chexpert-13",
        "diabetic-retinopathy-5",
        "skin-conditions-79",
        "histology-tissue-16",
        "tcga-study-types-10",
        "invasive-breast-cancer-3",
        "breast-nuclear-pleomorphism-3",
        "breast-tubule-formation-3",
        "cervical-dysplasia-3",
        "prostate-biopsy-4",
        "prostatectomy-4",
        "modality",
        "body-part",
        "image-quality",
        "demo-findings",
    }


@pytest.mark.parametrize(
    ("name", "labels", "said"),
    [
        ("breast-nuclear-pleomorphism-3", ["NP1", "NP2", "NP3"], "score"),
        ("breast-tubule-formation-3", ["TF1", "TF2", "TF3"], "tubule formation"),
        ("prostate-biopsy-4", ["Benign", "GP3", "GP4", "GP5"], "Gleason pattern"),
        ("prostatectomy-4", ["Benign", "GP3", "GP4", "GP5"], "Gleason pattern"),
    ],
)
def test_each_grade_s_prompts_name_that_grade_and_no_other(name: str, labels: list[str], said: str) -> None:
    found = shipped_label_set(name)
    assert [label.name for label in found.labels] == labels
    for label in found.labels:
        assert len(label.prompts) == 5
        named = {int(digit) for prompt in label.prompts for digit in re.findall(r"\d", prompt)}
        assert named == (set() if label.name == "Benign" else {int(label.name[-1])})
        assert any(said in prompt for prompt in label.prompts) == (label.name != "Benign")


def test_chexpert_is_labelled_as_its_tables_are() -> None:
    found = shipped_label_set("chexpert-13")
    assert [label.name for label in found.labels] == CHEXPERT
    by_name = {label.name: label for label in found.labels}
    devices = ("monitoring and support devices", "NG tube", "ET tube", "catheter", "PIC line")
    assert by_name["Support Devices"].prompts == devices
    assert by_name["Pleural Effusion"].absent == (
        "no evidence of pleural effusion",
        "no acute cardiopulmonary process",
        "normal study",
    )
    assert sum(len(label.prompts) for label in found.labels) == 43


def test_the_findings_of_the_demo_are_those_that_it_draws() -> None:
    found = shipped_label_set("demo-findings")
    drawn = [(finding.name, finding.phrases) for modality in MODALITIES for finding in modality.findings]
    assert [(label.name, label.prompts) for label in found.labels] == drawn
    for modality in MODALITIES:
        others = {other.phrases[0] for other in MODALITIES if other is not modality}
        for finding in modality.findings:
            absent = next(label.absent for label in found.labels if label.name == finding.name)
            assert set(absent) == others | {f"no {phrase}" for phrase in finding.phrases}


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(
        InvalidLabelSet, match=r"'chexpert': no such label set; name a YAML file, or one of body-part"
    ):
        open_label_set("chexpert")


@pytest.mark.skipif(not MODEL.is_dir(), reason="the model's tokenizer is not at hand")
def test_no_shipped_prompt_is_longer_than_the_model_reads() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    too_long = [
        (name, prompt)
        for name in shipped_names()
        for label in shipped_label_set(name).labels
        for prompt in (*label.prompts, *label.absent)
        if len(tokenizer(prompt)["input_ids"]) > 64
    ]
    assert too_long == []
