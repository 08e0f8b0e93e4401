"""Filling in a function's arguments over several turns: the brain asks for those that are missing, by the function's
schema.

Theory of operation
1. A `Form` is a function that the user wants, the arguments known so far, and the argument that was asked for.
2. `SlotFiller.read` reads the conversation user message by user message, and returns the result of the last one: a form
   with something missing, a complete call, or nothing. So there is no state to keep.
3. While a form is open, the next message gives it up, corrects it, answers it, or is about something else; in the last
   case the form stays open and the brain asks again.
4. The user can correct a call that has been made ("no, Paris") or vary it ("and in Rome?"): it is made again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import attrs

from trealtime.emulator.dialogue.functions import (
    QUOTED,
    allows_null,
    fill_arguments,
    find_arguments,
    functions_meant,
    resolved,
)
from trealtime.emulator.dialogue.language import (
    LONGEST_READ,
    NUMBER,
    content_words,
    listed,
    sentence,
    spoken_name,
    with_digits,
)
from trealtime.emulator.dialogue.memory import Memory
from trealtime.emulator.dialogue.turn import content_of, text_of

__all__ = ["Step", "SlotFiller", "Form", "question"]

_GIVEN_UP = re.compile(
    r"\b(?:never ?mind|forget (?:it|about it|that)|leave it|cancel (?:it|that)|don't bother|not any ?more|stop it)\b"
    r"|^(?:stop|cancel)[.!]*$",
    re.I,
)
_YES = re.compile(
    r"^\W*(?:yes|yeah|yep|sure|correct|right|exactly|ok(?:ay)?|please do|go ahead|do it|that's right)\b", re.I
)
_NO = re.compile(r"^\W*(?:no|nope|nah|don't|do not|wrong|not quite)\b", re.I)
_CORRECTED = re.compile(
    r"^\W*(?:(?:oh|no|nope|sorry|actually|wait|rather|well|i (?:mean|meant|said)|make (?:it|that)|make)\b[\s,.]*)+"
    r"(?P<rest>.*)$",
    re.I | re.S,
)
_VARIED = re.compile(r"^\W*(?:and|what about|how about)\b[\s,]*(?P<rest>.*)$", re.I | re.S)
_ANOTHER_SUBJECT = re.compile(
    r"\b(?:what|who|how|why|when|where|is|are|do|does|my|your|you|tell|thanks?|that's)\b", re.I
)
_WISH = re.compile(r"\?\s*$|\b(?:i want|i'd like|i would like|i need|i have to|can you|could you|please|let's)\b", re.I)
_MOST_WORDS_OF_A_CORRECTION = 6
_CONFIRM = re.compile(r"\bconfirm\w*|\bask (?:first|before)\b|\bcheck with the (?:user|caller|customer)\b", re.I)

_LEAD = re.compile(
    r"^(?:(?:it(?:'s| is| will be)?|that(?:'s| is| would be)|i(?:'d like| would like| want| mean| meant| said)|make it"
    r"|in|for|to|at|from|on|the|an?|my|name is|is|please|well|u+m+|uh+|oh|ok(?:ay)?|yes|say|let's say|under|about"
    r"|called|named|we are|there are|(?:the )?name of)\b[\s,]*)+",
    re.I,
)
_TAIL = re.compile(r"(?:[\s,]*\b(?:please|thanks|thank you))*[\s.,;!?]*$", re.I)
# ruff: noqa: SIM905 - as lists of literals these would be unreadable
_NO_VALUES = frozenset(
    """
    me you it us them now today tomorrow tonight here there please that this example one help sure all something
    anything
    """.split()
)

_DAY = (
    r"\b(?:(?:next |this )?(?:mon|tues|wednes|thurs|fri|satur|sun)day|today|tonight|tomorrow|the day after tomorrow"
    r"|\d{4}-\d\d-\d\d|(?:january|february|march|april|may|june|july|august|september|october|november|december)"
    r" \d{1,2}(?:st|nd|rd|th)?|(?:the )?\d{1,2}(?:st|nd|rd|th)(?: of \w+)?)\b"
)
_TIME = (
    r"\b(?:\d{1,2}:\d\d(?: ?[ap]m)?|\d{1,2} ?(?:[ap]m|o'clock)|noon|midnight|half past \w+|quarter (?:past|to) \w+)\b"
)

# Strings that look like something by the name of their argument.
_KINDS: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"(?:^|_)(?:date|day|weekday|when)(?:_|$)", re.I), _DAY),
    (re.compile(r"(?:^|_)(?:time|hour|clock)(?:_|$)", re.I), _TIME),
    (re.compile(r"(?:^|_)(?:person|(?:user|customer|guest|caller|full|first|last)?_?name)$", re.I), r""),
)
_NAME_SAID = re.compile(
    r"\b(?:(?:my )?name is|i am|i'm|under|for|called)\s+((?-i:[A-Z])[\w'-]*(?: (?-i:[A-Z])[\w'-]*)*)", re.I
)
_USER_NAME = re.compile(r"^(?:user_|customer_|guest_|caller_|full_|first_|your_)?name$", re.I)

_ASKING_WORDS = re.compile(r"^(?:how many|how much|how long|how|which|what|when|where|whose|who|whom)\b", re.I)
# How to ask for an argument by its name; {name} is the name in words.
_QUESTIONS: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"\b(?:date|day|weekday)$"), "Which day?"),
    (re.compile(r"^when$"), "When?"),
    (re.compile(r"\b(?:time|hour)$"), "At what time?"),
    (re.compile(r"^(?:user |customer |guest |caller |full |your )?name$"), "What name, please?"),
    (
        re.compile(
            r"\b(?:id|no|number|code|zip|pin|phone|email|address|name|title|subject|message|text|query|note|reason)$"
        ),
        "What is the {name}?",
    ),
)


@attrs.frozen(kw_only=True)
class Form:
    """A function that the user wants, and what is known: `arguments` in the order in which they were given, and what
    was `asked` for last. `confirming`: all is there, and the user is to say yes."""

    function: Mapping[str, Any]
    arguments: Mapping[str, object]
    asked: str | None = None
    confirming: bool = False


@attrs.frozen
class Step:
    """The result of the last message: `ask` for the next argument of `form`, `call` it, or it was `dropped`.

    ``"aside"``: the message was about something else while `form` was open. `again`: the same was asked before.
    """

    what: Literal["ask", "call", "dropped", "aside"]
    form: Form
    again: bool = False


@attrs.define(kw_only=True)
class SlotFiller:
    """Fills in forms for the `functions` on offer.

    `instructions` say whether calls are to be confirmed; `is_aside` tells whether a message asks for something that
    needs no function.
    """

    functions: Sequence[Mapping[str, Any]]
    instructions: str
    is_aside: Callable[[str], bool]
    _memory: Memory = attrs.field(init=False, factory=Memory)
    """The facts that the user has stated up to the message that is being read."""

    def read(self, items: Sequence[Mapping[str, Any]]) -> tuple[list[Step], bool]:
        """Return the result of the last user message (several calls, where it names several functions), and whether a
        call of these functions has been made since it."""
        form: Form | None = None
        made: Form | None = None
        result: list[Step] = []
        called = False
        known = {function["name"]: function for function in self.functions}
        for item in items:
            if item.get("role") == "user":
                text = text_of(item)[:LONGEST_READ]
                called = False
                if not text and any(part.get("type") == "input_image" for part in content_of(item)):
                    result = []
                    continue
                self._memory.learn(text)
                result = self._step(form, made, text)
                open_form = result[0] if result else None
                form = open_form.form if open_form is not None and open_form.what in ("ask", "aside") else None
            elif item.get("type") == "function_call" and (function := known.get(item.get("name", ""))):
                made = Form(function=function, arguments=_object(item.get("arguments")))
                form, called = None, True
        return result, called

    def words_for(self, step: Step) -> str:
        """Return the question for an incomplete form."""
        form = step.form
        if step.what == "dropped":
            return "All right, never mind."
        if form.confirming:
            known = listed(
                [f"{spoken_name(name)} {_said(value)}" for name, value in form.arguments.items()] or ["that"]
            )
            return sentence(f"{spoken_name(form.function['name'])}: {known}") + " Is that right?"
        assert form.asked is not None
        asking = question(form.asked, self._schema_of(form, form.asked))
        return f"Sorry, {asking[:1].lower()}{asking[1:]}" if step.again else asking

    # ---- one message -----------------------------------------------------------------------------------------------

    def _step(self, form: Form | None, made: Form | None, text: str) -> list[Step]:
        if form is None:
            return self._begin(made, text)
        if _GIVEN_UP.search(text):
            return [Step("dropped", form)]
        if form.confirming:
            return self._confirm(form, text)
        corrected = _CORRECTED.match(text)
        if corrected and (changed := self._corrected(form, corrected["rest"])):
            return [self._next(changed)]
        meant = functions_meant(text, self.functions)
        if meant and meant[0][0]["name"] != form.function["name"] and self._found(*meant[0]):
            return self._begin(made, text)
        if self.is_aside(text):
            return [Step("aside", form)]
        assert form.asked is not None
        value = self._answer(form, form.asked, text)
        if value is None:
            return [Step("ask", form, again=True)]
        others = {name: found for name, found in self._found(form.function, text).items() if found != value}
        return [self._next(_with(form, {**others, **form.arguments, form.asked: value}))]

    def _begin(self, made: Form | None, text: str) -> list[Step]:
        meant = functions_meant(text, self.functions) or self._wished(text)
        if not meant:
            changed = self._varied(made, text)
            return [self._next(changed)] if changed else []
        begun = [
            self._next(Form(function=function, arguments=self._found(function, piece))) for function, piece in meant
        ]
        incomplete = [each for each in begun if each.what != "call"]
        return incomplete[:1] or begun

    def _wished(self, text: str) -> list[tuple[Mapping[str, Any], str]]:
        """The one function with arguments that a question or a wish shares a word of its name with."""
        if not _WISH.search(text) or self.is_aside(text):
            return []
        said = set(content_words(text))
        near = [
            function
            for function in self.functions
            if said & set(content_words(function["name"])) and (function.get("parameters") or {}).get("required")
        ]
        return [(near[0], text)] if len(near) == 1 else []

    def _confirm(self, form: Form, text: str) -> list[Step]:
        if _YES.search(text):
            return [Step("call", form)]
        corrected = _CORRECTED.match(text)
        if corrected and (changed := self._corrected(form, corrected["rest"])):
            return [self._next(changed)]
        if _NO.search(text):
            return [Step("dropped", form)]
        return [Step("aside" if self.is_aside(text) else "ask", form, again=True)]

    def _next(self, form: Form) -> Step:
        """Ask for the first missing argument, else call the function, after the user's yes where that is needed."""
        parameters = form.function.get("parameters") or {}
        for name in parameters.get("required") or ():
            declared = (parameters.get("properties") or {}).get(name, {})
            if name in form.arguments or allows_null(declared):
                continue
            schema = resolved(declared, root=parameters)
            if self._memory.name and _USER_NAME.search(name):
                return self._next(_with(form, {**form.arguments, name: self._memory.name}))
            if "default" not in schema and "const" not in schema and schema.get("type", "string") != "object":
                return Step("ask", attrs.evolve(form, asked=name))
        told = f"{self.instructions}\n{form.function.get('description') or ''}"
        if form.arguments and _CONFIRM.search(told):
            return Step("ask", attrs.evolve(form, asked=None, confirming=True))
        return Step("call", form)

    def _corrected(self, form: Form, text: str) -> Form | None:
        """Return `form` with another value for the argument that was given last, or None where `text` has none."""
        if not text.strip():
            return None
        if form.asked and self._schema_of(form, form.asked).get("type", "string") != "string":
            return None if self._answer(form, form.asked, text) is not None else self._replaced(form, text)
        return self._replaced(form, text)

    def _replaced(self, form: Form, text: str) -> Form | None:
        latest_first = list(form.arguments)[::-1]
        # Any words are a string: so the types that fit numbers alone are tried before.
        for name in sorted(
            latest_first, key=lambda name: self._schema_of(form, name).get("type", "string") == "string"
        ):
            value = self._answer(form, name, text)
            if value is not None and value != form.arguments[name]:
                return _with(form, {**form.arguments, name: value})
        return None

    def _varied(self, made: Form | None, text: str) -> Form | None:
        """Return the call that was made, with the changes in `text`."""
        said = _CORRECTED.match(text) or _VARIED.match(text)
        if made is None or said is None:
            return None
        rest = said["rest"]
        if _TAIL.sub("", _LEAD.sub("", rest)).lower() in _NO_VALUES:
            return None
        if len(rest.split()) > _MOST_WORDS_OF_A_CORRECTION or _ANOTHER_SUBJECT.search(rest):
            return None
        changed = made
        for name in (made.function.get("parameters") or {}).get("properties") or {}:
            for choice in self._schema_of(made, name).get("enum") or ():
                chosen = re.compile(rf"\b(?:in |with )?{re.escape(str(choice))}\b", re.I)
                if chosen.search(rest):
                    rest, changed = chosen.sub("", rest), _with(changed, {**changed.arguments, name: choice})
        replaced = self._replaced(changed, rest) if rest.strip(" .,!?") else None
        return replaced or (changed if changed is not made else None)

    # ---- values ----------------------------------------------------------------------------------------------------

    def _found(self, function: Mapping[str, Any], text: str) -> dict[str, object]:
        """Return the values that a message has for the arguments of `function`, without being asked."""
        parameters = function.get("parameters") or {}
        properties = parameters.get("properties") or {}
        patterns = {name: _pattern_of(name, resolved(each, root=parameters)) for name, each in properties.items()}
        rest = {name: declared for name, declared in properties.items() if patterns[name] is None}
        text_wanted = any(resolved(each, root=parameters).get("type", "string") == "string" for each in rest.values())
        found: dict[str, object] = {}
        for name, pattern in patterns.items():
            if pattern is None:
                continue
            sought: str | re.Pattern[str] = pattern or _NAME_SAID
            quoted = _quoted(text, sought, any_will_do=not text_wanted)
            value = quoted or _first(sought, text)
            if value is not None:
                found[name] = value
            if quoted is not None:
                text = re.sub(rf"[\"“]\s*{re.escape(quoted)}\s*[\"”]", " ", text, count=1)
        taken = re.sub(f"{_DAY}|{_TIME}", " ", text, flags=re.I) if found else text
        others = find_arguments(taken, {**parameters, "properties": rest}).items()
        return found | {name: value for name, value in others if str(value).lower() not in _NO_VALUES}

    def _answer(self, form: Form, name: str, text: str) -> object:
        """The value in an answer to the question for `name`; None when it has none."""
        schema = self._schema_of(form, name)
        digits = re.sub(r"(?<=\b\d) (?=\d\b)", "", with_digits(text))  # "one two three" is 123
        if "enum" in schema:
            return find_arguments(text, {"properties": {name: schema}}).get(name)
        match schema.get("type", "string"):
            case "integer" | "number":
                found = re.search(NUMBER, digits)
                if found is None:
                    return None
                number = float(found[0])
                return int(number) if number.is_integer() else number if schema["type"] == "number" else None
            case "boolean":
                return True if _YES.search(text) else False if _NO.search(text) else None
            case "array":
                pieces = re.split(r",\s*(?:and\s+)?|\s+and\s+", _TAIL.sub("", _LEAD.sub("", text.strip())))
                return [piece.strip() for piece in pieces if piece.strip()] or None
            case _:
                return self._answered_string(name, schema, text)

    def _answered_string(self, name: str, schema: Mapping[str, Any], text: str) -> str | None:
        pattern = _pattern_of(name, schema)
        if pattern is not None and (quoted := _quoted(text, pattern, any_will_do=True)):
            return quoted
        if pattern and (found := _first(pattern, with_digits(text))):
            return found
        code = find_arguments(text, {"properties": {name: schema}}).get(name) if pattern is None else None
        if code is not None and re.search(r"\d|@|/", str(code)):
            return str(code)
        words = _TAIL.sub("", _LEAD.sub("", text.strip())).strip(" \"'“”")
        return words or None

    def _schema_of(self, form: Form, name: str) -> Mapping[str, Any]:
        parameters = form.function.get("parameters") or {}
        return resolved((parameters.get("properties") or {}).get(name, {}), root=parameters)


def question(name: str, schema: Mapping[str, Any]) -> str:
    """Return a question for the argument `name`: its description where that is a question, else one made of name and
    type."""
    words = spoken_name(name) or name
    described = re.split(r"(?<=[.?!])\s", (schema.get("description") or "").strip())[0].rstrip(" .?")
    if "enum" in schema:
        return f"Which {words}: {listed([str(value) for value in schema['enum']], last='or')}?"
    if _ASKING_WORDS.search(described):
        return f"{described[:1].upper()}{described[1:]}?"
    kind = schema.get("type", "string")
    if kind == "boolean":
        return f"{words[:1].upper()}{words[1:]}: yes or no?"
    for pattern, asking in _QUESTIONS:
        if pattern.search(words):
            return asking.format(name=words)
    if kind in ("integer", "number"):
        return f"How many {words}?" if words.endswith("s") or words == "people" else f"What is the {words}?"
    return f"Which {words}?"


def arguments_of(form: Form) -> dict[str, object]:
    """Return the arguments of a complete form, with the schema's defaults for the rest."""
    parameters = form.function.get("parameters") or {}
    plain = fill_arguments("", parameters)
    required = parameters.get("required") or ()
    return {**{name: value for name, value in plain.items() if name in required}, **form.arguments}


def _with(form: Form, arguments: Mapping[str, object]) -> Form:
    return attrs.evolve(form, arguments=arguments, confirming=False)


def _pattern_of(name: str, schema: Mapping[str, Any]) -> str | None:
    """Return the pattern of a string called `name`; empty: a person's name. None: it has no known pattern."""
    if schema.get("type", "string") != "string" or "enum" in schema:
        return None
    return next((pattern for kind, pattern in _KINDS if kind.search(name)), None)


def _quoted(text: str, pattern: str | re.Pattern[str], *, any_will_do: bool) -> str | None:
    """Return the first piece in quotes that has what `pattern` looks for; where it has not, and `any_will_do`, the
    first piece."""
    quotes = [match[1].strip() for match in re.finditer(QUOTED, text) if match[1].strip()]
    fits = next((quote for quote in quotes if pattern and _first(pattern, quote) is not None), None)
    return fits or (quotes[0] if quotes and any_will_do else None)


def _first(pattern: str | re.Pattern[str], text: str) -> str | None:
    found = re.search(pattern, text, re.I) if isinstance(pattern, str) else pattern.search(text)
    return None if found is None else found[found.re.groups]


def _object(arguments: object) -> dict[str, object]:
    try:
        value = json.loads(arguments) if isinstance(arguments, str) else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _said(value: object) -> str:
    return listed([str(each) for each in value]) if isinstance(value, list) and value else str(value)
