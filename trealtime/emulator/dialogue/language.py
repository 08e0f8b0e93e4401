"""English for the rules: numbers in words, sums as they are asked for aloud, words that carry meaning, and the outputs
of functions as sentences."""

from __future__ import annotations

import ast
import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = [
    "LONGEST_READ",
    "NUMBER",
    "content_words",
    "listed",
    "plain_number",
    "sentence",
    "spoken_name",
    "sum_in",
    "tell_output",
    "with_digits",
]

# ruff: noqa: SIM905 - as lists of literals these would be unreadable
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_VALUES = {word: value for value, word in enumerate(_UNITS)} | {word: 20 + 10 * n for n, word in enumerate(_TENS)}

LONGEST_READ = 600
"""Characters of a message that the rules search: people say no more in a turn, and patterns take their time."""

NUMBER = r"(?<!\d)-?\d{1,15}(?:\.\d{1,15})?(?!\d)"
"""A number in digits, as a pattern. A longer run of digits is a code, not a number to calculate with."""

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


# ---- sums -----------------------------------------------------------------------------------------------------------


_ASKED = re.compile(
    r"\bwhat(?:'s| is| are)\b|\bhow much\b"
    r"|\b(?:and|calculate|compute|plus|minus|times|divided|multiplied|percent|root|power|squared|cubed)\b"
    r"|^[\s\d.x+*/()-]+=?[\s?]*$",
    re.IGNORECASE,
)

# From how it is said to how it is written; the first come first.
_WRITTEN: Sequence[tuple[str, str]] = (
    (r"(\d) point (\d)", r"\1.\2"),
    (r"(?<=\d),(?=\d{3}\b)", ""),
    (r"\bto the power of\b|\^", " ** "),
    (r"(?<=\d) squared\b", " ** 2"),
    (r"(?<=\d) cubed\b", " ** 3"),
    (r"\bplus\b", " + "),
    (r"\bminus\b", " - "),
    (r"\bmultiplied by\b|\btimes\b|(?<=\d)\s*x\s*(?=\d)", " * "),
    (r"\bdivided by\b|\bover\b", " / "),
    (r"\bhalf of\b", " 0.5 * "),
    (r"\b(?:twice|double)\b", " 2 * "),
)
_SPOKEN = {"+": "plus", "-": "minus", "*": "times", "/": "divided by", "**": "to the power of"}

_PERCENT = re.compile(rf"({NUMBER})\s*(?:percent|per cent|%) of ({NUMBER})", re.IGNORECASE)
_ROOT = re.compile(rf"square root of ({NUMBER})", re.IGNORECASE)
_EXPRESSION = re.compile(
    rf"(?<![\w.])\(*\s*-?{NUMBER}[\s)]*(?:(?:\*\*|[-+*/])[\s(]*{NUMBER}[\s)]*)+(?!\w)", re.IGNORECASE
)
_PIECE = re.compile(rf"\*\*|[-+*/]|{NUMBER}|[()]")

_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_LARGEST_POWER = 64


def sum_in(text: str) -> str | None:
    """The sum in `text`, done, as a sentence; None when it asks for none."""
    text = text[:LONGEST_READ]
    if not _ASKED.search(text):
        return None
    written = with_digits(text)
    if percent := _PERCENT.search(written):
        share, whole = float(percent[1]), float(percent[2])
        return f"{plain_number(share)} percent of {plain_number(whole)} is {plain_number(share * whole / 100)}."
    if root := _ROOT.search(written):
        square = float(root[1])
        known = plain_number(math.sqrt(square)) if square >= 0 else "not a real number"
        return f"The square root of {plain_number(square)} is {known}."
    for pattern, symbol in _WRITTEN:
        written = re.sub(pattern, symbol, written, flags=re.IGNORECASE)
    found = _EXPRESSION.search(written)
    if found is None:
        return None
    try:
        value = _value(ast.parse(found[0].strip(), mode="eval").body)
    except ZeroDivisionError:
        return "Nobody can divide by zero."
    except (SyntaxError, ValueError, OverflowError, RecursionError):
        return None
    return f"{_aloud(found[0])} is {plain_number(value)}."


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            first, second = _value(left), _value(right)
            if isinstance(sign, ast.Pow) and (abs(second) > _LARGEST_POWER or (first < 0 and not second.is_integer())):
                raise ValueError("out of reach")
            result = float(_OPERATORS[type(sign)](first, second))
            if not math.isfinite(result):
                raise OverflowError
            return result
        case _:
            raise ValueError("not arithmetic")


def _aloud(expression: str) -> str:
    pieces = _PIECE.findall(re.sub(r"(?<=[\d)])\s*-\s*(?=\d)", " - ", expression))
    words = [_SPOKEN.get(piece) or (piece if piece in "()" else plain_number(float(piece))) for piece in pieces]
    return re.sub(r"\( | \)", lambda match: match[0].strip(), " ".join(words))


# ---- the outputs of functions ---------------------------------------------------------------------------------------


_MOST_TOLD = 5
_DEEPEST = 3

# The last word of a key that is a unit, and how it is said behind the number.
_MEASURES = {
    "c": "degrees Celsius",
    "celsius": "degrees Celsius",
    "f": "degrees Fahrenheit",
    "fahrenheit": "degrees Fahrenheit",
    "percent": "percent",
    "pct": "percent",
    "eur": "euros",
    "usd": "dollars",
    "gbp": "pounds",
    "chf": "francs",
    "km": "kilometres",
    "m": "metres",
    "kg": "kilograms",
    "kmh": "kilometres per hour",
    "ms": "milliseconds",
    "s": "seconds",
    "min": "minutes",
    "minutes": "minutes",
    "hours": "hours",
    "days": "days",
}
# A function that does something: its output says that it is done, and gives no value.
# ruff: noqa: SIM905 - as lists of literals these would be unreadable
_DOING = frozenset(
    """
    add arrange book buy cancel change close create delete make move open pay play put refund register remove
    reserve save schedule send set start stop submit switch turn update write
    """.split()
)
_LOOKING = frozenset("check fetch find get look lookup read retrieve search show tell what".split())


def tell_output(name: str, output: str) -> str:
    """Return the output of the function `name` in one or a few sentences."""
    text = output.strip()
    value: Any = text
    if text[:1] in '{["' or text in ("true", "false", "null"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            pass
    words = spoken_name(name).split()
    doing = bool(words) and words[0].lower() in _DOING
    if value is None or value == "":
        return "Done." if doing else "I found nothing."
    if isinstance(value, bool):
        return "Yes." if value else "No."
    if isinstance(value, Mapping):
        return sentence(_told(value, depth=0)) if value else "I found nothing."
    if isinstance(value, list):
        return sentence(_told_list(value)) if value else "I found nothing."
    told = str(value)
    if len(told.split()) > 2:
        return sentence(told)
    if doing:
        return sentence(f"Done: {told}")
    subject = " ".join(words[1:] if words and words[0].lower() in _LOOKING else words)
    return sentence(f"the {subject} is {told}" if subject else told)


def spoken_name(name: str) -> str:
    """An identifier as words: ``orderStatus`` and ``order_status`` are "order status"."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return " ".join(re.findall(r"[^\W_]+", spaced)).lower()


def sentence(words: str) -> str:
    """`words` with a capital and a full stop."""
    words = words.strip()
    return words[:1].upper() + words[1:] + ("" if words[-1:] in ".!?…" else ".")


def listed(words: list[str], *, last: str = "and") -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _told(value: Any, *, depth: int) -> str:
    match value:
        case None:
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return plain_number(value)
        case list() if value and depth < _DEEPEST:
            return listed([_told(each, depth=depth + 1) for each in value[:_MOST_TOLD]])
        case Mapping() if value and depth < _DEEPEST:
            return listed(_clauses(value, (), depth=depth))
        case list() | Mapping():
            return "nothing" if not value else f"{len(value)} more"
        case _:
            return str(value).strip().rstrip(".")


def _clauses(value: Mapping[str, Any], path: tuple[str, ...], *, depth: int) -> list[str]:
    """A clause for each value; what lies deeper is called by the names on the way to it."""
    clauses: list[str] = []
    for key, each in value.items():
        words = (*path, *(spoken_name(str(key)).split() or ["value"]))
        if isinstance(each, Mapping) and each and depth + 1 < _DEEPEST:
            clauses += _clauses(each, words, depth=depth + 1)
        else:
            clauses.append(_clause(words, each, depth=depth))
    return clauses


def _clause(words: tuple[str, ...], value: Any, *, depth: int) -> str:
    unit = _MEASURES.get(words[-1], "") if isinstance(value, int | float) and not isinstance(value, bool) else ""
    subject = " ".join(words[:-1] if unit and len(words) > 1 else words)
    verb = "are" if isinstance(value, list) and len(value) > 1 else "is"
    return f"the {subject} {verb} {_told(value, depth=depth + 1)}{f' {unit}' if unit else ''}"


def _told_list(values: list[Any]) -> str:
    told = [_told(value, depth=1) for value in values[:_MOST_TOLD]]
    if len(values) > _MOST_TOLD:
        told.append(f"{len(values) - _MOST_TOLD} more")
    if any(isinstance(value, Mapping) for value in values):
        return f"there {'is' if len(values) == 1 else 'are'} {len(values)}: {'; '.join(told)}"
    return listed(told)
