"""Whether a text from a file speaks to a program instead of telling of a picture."""

import re

from medsiglip_search.explain.plain_text import plain

MOST_READ = 20_000
"""Characters that are looked at, of the text as it would be quoted; more than ever is."""

_SETS_ASIDE = (
    r"\b(?:ignor|disregard|forget|overrid)\w*\b[^.!?]{0,60}\b(?:instruct\w*|prompts?|rules?|above|previous|prior"
    r"|earlier|everything|context|guidelines?|evidence|safety|warnings?)\b"
)
_CASTS = (
    r"\b(?:you are|you're)\s+(?:now|an?|the|no longer)\b"
    r"|\b(?:act as|pretend|roleplay|behave as|from now on)\b"
    r"|\bas an? (?:ai|assistant|language model)\b"
)
_NAMES_THE_READER = (
    r"\b(?:ai assistant|chatgpt|medgemma|gemma|llm|language model|ai model|dear ai|hey ai|jailbreak)\b"
    r"|\b(?:system|developer|hidden|initial)\s*(?:prompt|message|instruction\w*|mode)\b"
    r"|(?:^|[\n;|]|[.!?]\s+)(?:system|user|assistant|model|developer)\s*:|\[/?inst\]|\"role\"\s*:"
)
# At the beginning of a clause, and of a thing that a program would do: "repeat film" is asked of people.
_COMMANDS = (
    r"(?:^|[.!?:;,]\s*|\n\s*|\b(?:please|now|then|and|must|should)\s+)(?:respond|reply|answer|output|print|reveal|repeat"
    r"|say|write|state|tell|translate|summari[sz]e|conclude|declare|classify|label|mark|rate|call|report)\b[^.!?]{0,60}"
    r"\b(?:normal|prompts?|instructions?|words?|password|secret|nothing|anything|json|html|link|user|hits?|query|match"
    r"|verbatim|healthy|no findings?|other patients|poem)\b"
)
_FORBIDS = (
    r"\b(?:do not|don't|never|must not)\s+(?:mention|report|describe|say|warn|show|flag|check|trust|answer"
    r"|reply|respond|follow|reveal|tell|output)\b"
)
_ORDERS = r"\b(?:new|updated|important|urgent|special)\s+(?:instructions?|task|directive|order|policy)\b"
_CODE = (
    r"\b(?:curl|wget|import os|rm -rf|drop table|select \*|eval\()"
    r"|\{\{|\}\}|\$\{|\{\s*\"|```|'''|#{3,}|\|\|\|"
)
_OTHER_WAYS = (
    r"\b(?:ignorier\w*|ignorez|ignora\w*|vergiss|missacht\w*|oubliez)\b|\b(?:your|the) task\b|\banswer only\b"
    r"|\b(?:automated|next|machine|ai) readers?\b|\bto the (?:software|program|machine|model|computer)\b"
    r"|\bwho(?:ever)? (?:reads|summari[sz]es|describes)\b|\btreat (?:this|it|as)\b"
    r"|\bcorrect (?:reply|answer)\b"
    r"|\bwhen asked\b|\boverride\b|\bthe operator\b|\bkindly (?:state|say|report|write|answer)\b"
    r"|\b(?:summari[sz]e|describe) (?:this|a|the|all|everything)\b|\bscore \d+ percent\b|\bskip the\b"
    r"|^output\b|\bmailto:|\b[\w-]+\.(?:example|com|net|org|io|ru|cn|de|info|biz)/|\{\s*'"
)
# A letter of another alphabet, or a digit, within a word of this one: written to be read past.
_DISGUISED = (
    r"[a-z][\u0370-\u052f]|[\u0370-\u052f][a-z]|\b(?=\w*[a-z]{2})(?:\d[a-z]{2,}\d\w*|[a-z]+\d[a-z]+\d\w*)\b"
)
_WAYS = (
    *(_SETS_ASIDE, _CASTS, _NAMES_THE_READER, _COMMANDS, _FORBIDS, _ORDERS, _CODE),
    *(_OTHER_WAYS, _DISGUISED),
)
_SPEAKS = re.compile("|".join(_WAYS), re.IGNORECASE)

# Looked for in the text as it stands, for it is gone in plain text.
_ACTED_UPON = re.compile(
    r"<[a-z/!|?]|\]\(|://|\bwww\.|\bjavascript:|\bdata:[a-z]+/|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]",
    re.IGNORECASE,
)


def speaks_to_a_program(text: str) -> bool:
    """Tell whether a text holds instructions, markup or addresses, which reports of pictures do not.

    A heuristic that errs on the side of leaving a report out; what it lets through is quoted as data.
    """
    return bool(_ACTED_UPON.search(text) or _SPEAKS.search(plain(text)[:MOST_READ]))
