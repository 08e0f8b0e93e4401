"""What the rules of the emulator's brain know about English: numbers, and which words carry meaning."""

from __future__ import annotations

import re

__all__ = ["NUMBER", "content_words", "plain_number", "with_digits"]

# ruff: noqa: SIM905 - as lists of literals these would be unreadable
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_VALUES = {word: value for value, word in enumerate(_UNITS)} | {word: 20 + 10 * n for n, word in enumerate(_TENS)}

NUMBER = r"-?\d+(?:\.\d+)?"
"""A number in digits, as a pattern."""

_SMALL = rf"(?:(?:{'|'.join(_TENS)})(?:[- ](?:{'|'.join(_UNITS[1:10])}))?|(?:{'|'.join(_UNITS)}))"
_UNDER_A_THOUSAND = rf"(?:(?:{_SMALL}|a) hundred(?:(?: and)? {_SMALL})?|{_SMALL})"
_SPELLED = re.compile(
    rf"\b(?:(?:{_UNDER_A_THOUSAND}|a) thousand(?:(?:,| and)? {_UNDER_A_THOUSAND})?|{_UNDER_A_THOUSAND}|a dozen)\b",
    re.IGNORECASE,
)

_STOP_WORDS = frozenset(
    # Words of grammar, and the verbs and nouns that describe any tool.
    """
    a about all also am an and any are as at be been but by can could did do does for from get gets had has have
    he her his how i if in is it its just let like may me more my no not now of on one or our out over please she
    should so some such tell than that the their them then there these they this to up us use used using want was
    we were what when where which who why will with would you your yes
    agent call calls data fetch find function given gives handle handles handoff information look lookup looks
    request return returns show tool user
    """.split()
)


def plain_number(value: float) -> str:
    """`value` as people write it: ``5``, ``2.5``, no more than six decimals."""
    return str(int(value)) if float(value).is_integer() else f"{value:.6f}".rstrip("0")


def with_digits(text: str) -> str:
    """`text` with spelled numbers under a million in digits: "twenty-one apples" is "21 apples", "a hundred" is 100."""

    def digits(match: re.Match[str]) -> str:
        thousands, value = 0, 0
        for word in re.findall(r"[a-z]+", match[0].lower()):
            match word:
                case "and":
                    pass
                case "a":
                    value = 1
                case "hundred":
                    value *= 100
                case "dozen":
                    value *= 12
                case "thousand":
                    thousands, value = value * 1000, 0
                case _:
                    value += _VALUES[word]
        return str(thousands + value)

    return _SPELLED.sub(digits, text)


def content_words(text: str) -> list[str]:
    """The words of `text` or of an identifier that carry meaning, lower case, without a plural s, in order."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).replace("_", " ").lower()
    words = (re.sub(r"(?:'s|(?<=[^sui])s)$", "", word) for word in re.findall(r"[^\W_]+(?:'s)?", spaced))
    return [word for word in words if word not in _STOP_WORDS and len(word) > 1]
