"""Arithmetic, as it is asked for aloud: "what is a hundred divided by four", "15 percent of 80", "2 plus 3 times 4"."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence

from trealtime.emulator.brain_words import NUMBER, plain_number, with_digits
from trealtime.emulator.talking.verbalizer import LONGEST_READ

__all__ = ["sum_in"]

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
