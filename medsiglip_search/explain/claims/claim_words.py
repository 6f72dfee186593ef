"""The words by which an explanation denies, doubts, or speaks of something else than its picture.

In the normal form of `lexicon`, so "finding of" is also "findings of". English; what a query negates with is
taken over from `negation_words`.
"""

# ruff: noqa: E501 - tables of words read better in long lines.

from medsiglip_search.explain.claims.lexicon import forms
from medsiglip_search.querying import negation_words
from medsiglip_search.querying.negation_words import Phrases


def _phrases(*lines: str) -> Phrases:
    """Return phrases by their first word, the longest first."""
    by_first: dict[str, set[tuple[str, ...]]] = {}
    for phrase in (forms(phrase) for line in lines for phrase in line.split(", ")):
        by_first.setdefault(phrase[0], set()).add(phrase)
    return {first: tuple(sorted(found, key=len, reverse=True)) for first, found in by_first.items()}


def _words(joined: str) -> frozenset[str]:
    return frozenset(forms(joined))


# "excluding" is said of what is left out, not of what is not there.
_OF_QUERIES = [" ".join(phrase) for found in negation_words.BEFORE.values() for phrase in found]

DENIES_NEXT = _phrases(
    *(phrase for phrase in _OF_QUERIES if phrase.isascii() and phrase != "excluding"),
    "nor, clear of, devoid of, none of, never, rather than, instead of, nothing to suggest, nothing suggestive of",
    "fails to show, fails to demonstrate, fails to reveal, rules out, excludes, exclude the presence of",
    "argues against, against, not, cannot, isn't, aren't, doesn't, don't, wasn't, weren't, can't, hasn't, non",
    "lacks, nil, zero, nothing, less likely, denies, unaffected by, spared from, spared by, nowhere",
)
"""What denies the words after it."""

DENIES_BEFORE = _phrases(
    "absent, is absent, are absent, excluded, ruled out, has resolved, have resolved, resolved, has cleared",
    "have cleared, less likely, is less likely, are less likely, is unlikely, are unlikely, disappeared, missing, is lacking, are lacking, unlikely, not the case, has gone, is gone, are gone",
)
"""What denies the words before it, up to the beginning of the clause."""

DENIES_ITS_LABEL = _words(
    "no none absent negative false nil 0 not n never without normal unremarkable neg denied"
)
"""What denies a finding that is a label: "pneumothorax: none"."""

UNSETTLED_LABEL = _phrases(
    "not assessed, not evaluated, not assessable, unknown, not applicable, na, not evaluable, unclear, not mentioned"
)

DENIES_LIST = _phrases(
    "absent, not present, negative, excluded, not seen, denied, pertinent negative, not visible, ruled out, no",
    "absent finding, negative finding, finding absent, not found, not there",
)
"""With a colon they deny the list that follows: "absent: edema, effusion"."""

NOTS = _words(
    "neither not never cannot isn't aren't doesn't don't wasn't weren't can't hasn't couldn't haven't"
)
SEEN = _words(
    "seen present visible identified evident demonstrated detected found noted appreciated observed apparent shown "
    "visualized visualised suspected discernible recognizable recognised depicted appreciable delineated recognized "
    "identifiable detectable exist confirmed suggested noticeable perceptible there"
)
EXCLUDED = _words("excluded exclude excludes rule ruled dismissed")
ADVERBS = _words(
    "be been clearly definitely definitively entirely completely readily currently confidently longer significantly "
    "well convincingly obviously being fully safely reliably have any more clearly radiographically here"
)

PSEUDO = _phrases(
    "no change, no significant change, no interval change, no increase, no decrease, no progression, no improvement",
    "no worsening, no doubt, not only, no significant interval change, without change, without increase",
    "without interval change, no resolution, not just, not merely, no longer than, not changed, not resolved",
    "not fully resolved, not increased, not decreased, no significant increase, no question, no appreciable change",
    "not necessarily, no reduction, no difference, without significant change, no definite change, no less than",
    "no other, no further, no additional, no more, without other, without further, without additional",
    "without any other, no evidence of other, no evidence of additional, no evidence of further, no evidence of any other",
    "difficult to exclude, hard to exclude, impossible to exclude, difficult to rule out, hard to rule out",
    "no evidence of change, not all, no regression, no fewer than, not improved, not completely resolved, without doubt",
)
"""What looks like a denial and is none (the pseudo-negations of NegEx, Chapman 2001)."""

ADDS = _words("other further additional more")
"""After "no" they speak of what is not named: "no other nodule" denies none of those that are."""

HEDGES = _words(
    "possible possibly may might could suspicious suspected suspicion suggest suggests suggesting suggestive concerning "
    "concern likely probable probably questionable equivocal presumably perhaps presumed apparent apparently potential "
    "potentially conceivable unlikely appears cannot would differential question uncertain unclear maybe"
)

OTHER_FORWARD = _phrases(
    "history of, h/o, previous, previously, was treated for, were treated for, treated for, rule out, to rule out, r/o",
    "to exclude, evaluate for, evaluation for, evaluation of, search for, searched for, searching for, looking for",
    "look for, asks for, asked for, asking for, asks about, asks whether, if, whether, status post, s/p, prior",
    "patient had, query text, search text, search term, search query, the question of, known history of, past",
    "formerly, would show, would be, would have, in search of, wanted is, query mentions, query names, query says",
    "assess for, assessment for, screening for, screen for, follow up for, follow up of, risk of, predisposes to",
    "is asked for, the search is for, query is for, query was, query wants, requested, text query, typed, user wants",
    "query reads, after removal of, after resection of, operated for, surgery for, matches the query, match the query",
    "answers the query, answer the query, query calls for, called for, sought, queried, query for, to look for",
    "years ago had, underwent treatment for, compatible with the query, query describes, complications such as",
    "earlier, differential diagnosis includes conditions such as, as opposed to, recommended to, monitor for",
)
"""What follows is no statement about the picture."""

OTHER_LABELS = _words(
    "indication history query question comparison recommendation search request anamnesis task prompt"
)
"""A line that begins with one of these, and a colon, says nothing about the picture."""

CONTRASTS = _phrases(
    "unlike, in contrast to, in contrast with, compared with, compared to, in comparison with, in comparison to",
    "different from, differs from, contrary to, by contrast with, as distinct from, relative to",
)
OTHER_PICTURES = _phrases(
    "hit, other image, other picture, other hit, other film, other radiograph, other scan, other study, prior film",
    "prior image, prior study, prior exam, prior examination, prior radiograph, prior scan, prior ct, prior x ray",
    "previous film, previous image, previous study, previous exam, previous examination, previous radiograph",
    "previous scan, previous ct, previous x ray, earlier film, earlier image, earlier study, earlier scan",
    "earlier radiograph, earlier examination, comparison film, comparison image, comparison study, last film",
    "last examination, old film, second image, image 2, other case, reference image, neighboring hit, other one",
    "other result, comparison radiograph, prior chest radiograph, previous chest radiograph, prior chest x ray",
    "previous chest x ray, prior head ct, similar case, retrieved image, prior imaging, previous imaging",
    "other patient, first hit, second hit, third hit, best hit, retrieved case, earlier ct, next hit, top hit, former",
)
QUERY_PICTURES = _phrases("query image, query picture, query")
TELLS = _words(
    "show shows showed shown has had have is are was were demonstrate demonstrates demonstrated reveal reveals revealed "
    "contain contains contained depict depicts depicted display displays displayed exhibits presents there : describes "
    "with includes does did looks"
) | {":"}
BACK_TO_IT = _words("this here present current now itself")
RELATIVES = _words("which that where who whose with showing both all")

ENDS = (
    negation_words.ENDS - {"-", "(", ")", "/", "with", "="}
    | _words(
        "except besides apart aside whereas unless nevertheless nonetheless otherwise only instead then thus hence therefore"
    )
    | {";", "|", "{", "}"}
)
"""What ends the reach of a denial."""

EXCEPTIONS = _phrases(
    "except, apart from, aside from, other than, save for, but for, besides, with the exception of, excepting",
    "otherwise, remainder, remaining, rest of, elsewhere, beyond, but, however, although, outside of, in addition to",
)
"""With one of these in its sentence, "normal" is not said of the whole picture."""

VERBS = _words(
    "is are was were has have show shows demonstrate demonstrates reveal reveals remains appears suggest"
)
QUALIFIERS = _words(
    "a an the there this it small tiny minimal mild mildly slight moderate moderately large big massive severe extensive "
    "marked left right bilateral unilateral subtle trace old new stable unchanged chronic known some several multiple "
    "persistent mildly moderately"
)
"""What begins a statement of its own after a comma: "no fracture, mild edema"."""

NORMALS = _words("normal unremarkable healthy")
CLEARS = _words("clear intact preserved sharp regular midline undisturbed symmetric symmetrical aerated")
BESIDE_NORMAL = _words(
    "appearing looking sized size frontal lateral pa ap portable axial adult of the a an and or both left right color in "
    "contrast enhanced non for age chest view single plain digital coronal sagittal noncontrast without shape contour "
    "position morphology caliber structure is are be were was appear appears looks look seems seem within limit limits "
    "entirely completely overall essentially grossly largely all also as well fairly generally broadly clearly standard "
    "posteroanterior anteroposterior upright supine screening t1 t2 weighted signal density configuration "
    "visualized visible seen these this otherwise remain remains bilaterally here on volume well symmetrically expanded "
    "quite appearance appearances adjacent visualised imaged appeared slice upper lower medium"
) | frozenset({",", ":", "[", "-", "(", ")"})
PICTURES = _words(
    "study exam examination image scan picture view appearance finding film section tile slide slice fundus retina skin "
    "everything specimen result impression mucosa sample anatomy gland stroma epithelium crypt architecture"
)
"""What a normal picture is called."""
NAMES_PICTURE = _words(
    "study exam examination image scan picture view film section tile slide slice specimen projection"
)
AROUND = _words(
    "surrounding adjacent neighboring neighbouring around margin edge perilesional background remaining rest adipose "
    "connective fatty nearby elsewhere border periphery beside"
)
"""Words of what lies around a finding."""
TISSUES = _words("skin tissue mucosa gland stroma epithelium crypt architecture retina fundus")
"""Beside a finding they are what surrounds it, and their being normal says nothing of the whole picture."""
WHOLE = frozenset(
    {"chest", "brain", "fundus", "retina", "skin", "breast", "tissue", "thorax", "head", "eye", "abdomen"}
)
"""Organs that are a whole picture, so that one of them being normal says that the picture is."""

ABNORMALITIES = _words("abnormality finding process pathology disease problem anomaly abnormal")
BESIDE_ABNORMALITY = _words(
    "acute active significant relevant focal gross major abnormal pathologic pathological suspicious critical specific "
    "cardiopulmonary pulmonary lung chest thoracic intrathoracic abdominal intraabdominal pelvic intracranial any of for "
    "radiographic evidence sign signs visible definite overt apparent clinically radiologic radiological obvious the an a "
    "cardiothoracic detectable demonstrable identifiable gross structural important retinal ocular fundus histologic "
    "histological mammographic morphologic discernible evident imaging clear clearly intra cranial brain head specific "
    "positive notable noteworthy fundoscopic skin tissue breast cutaneous is are be see seen show shows found "
    "demonstrate reveal did do does to suggest suggestive present serious and or"
)
ADVICE = _words(
    "recommend recommends recommended recommendation advise advised consider correlate correlation suggested follow "
    "followup further confirm confirmation would could required needed warranted additional repeat"
)
"""A sentence with one of these names kinds of pictures that are yet to be taken."""

BEFORE_OTHER_KIND = _words(
    "prior previous earlier comparison old other last repeat by with like than unlike no not to"
)

# What is left or right without saying on which side a finding is.
NO_SIDE_AFTER = _words(
    "ventricle ventricular atrium atrial anterior circumflex coronary bundle behind of to lateral decubitus turned out "
    "aortic handed angle dominant oblique unchanged untreated"
)
NO_SIDE_BEFORE = _words("to toward towards turned rotated facing")
BOTH = _words("bilateral bilaterally both biapical bibasilar bibasal each")
LOCATES = _words("on in at within over of involving along near throughout")
