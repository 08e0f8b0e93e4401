"""Barge-in policies: what can be said about when speech interrupts the agent. The rules are in `doubt`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

import attrs

from trealtime.protocol.validation import setting

__all__ = ["FILLERS", "BargeIn", "BargeInPolicy", "PendingInterruption", "Utterance", "only_fillers", "words_of"]

FILLERS: Final = ("ah", "aha", "er", "hm", "hmm", "huh", "mhm", "mm", "mm-hmm", "mmm", "oh", "uh", "uh-huh", "um")
"""What people say to show that they listen."""


@attrs.frozen(kw_only=True)
class BargeIn:
    """Speech has to show that it is an interruption: `barge_in` of the run config.

    Without an endpoint attached, an app that plays by itself does what `while_unsure` says at ``interruption_pending``,
    until ``interruption_confirmed`` or ``interruption_dismissed``.
    """

    min_speech_ms: int = setting(default=500, at_least=0)
    """Speech that lasts this long interrupts."""

    while_unsure: Literal["play", "duck", "hold"] = setting(default="duck")
    """What playback does until it is known: go on, go on more quietly, or stop and keep the rest."""

    duck_db: float = setting(default=-12.0, at_most=0)
    """How much more quietly."""

    dismiss: Literal["short", "fillers"] = setting(default="short")
    """What is no interruption: all that is shorter; or, of that, coughs and fillers, by its transcript."""

    fillers: Sequence[str] = setting(default=FILLERS)
    """Words and phrases that interrupt nothing."""

    transcript_timeout_s: float = setting(default=2.0, at_least=0)
    """How long the transcript of short speech may take. What is not known by then interrupts."""


BargeInPolicy = Literal["immediate", "off"] | BargeIn
"""``"immediate"``: as soon as the server hears it. ``"off"``: only the app interrupts. A `BargeIn`: when it has shown
that it is an interruption."""


@attrs.define
class Utterance:
    """Speech in doubt."""

    until: float
    """When it is confirmed unless something dismisses it before."""

    start_ms: int
    ended: bool = False
    committed: bool = False
    owed: bool = False
    """It is a turn that we answer unless it is dismissed."""


@attrs.define
class PendingInterruption:
    """What is in doubt now."""

    policy: BargeIn
    utterances: dict[str, Utterance] = attrs.Factory(dict)
    """By item id, oldest first."""

    @property
    def until(self) -> float:
        """When something has to be decided."""
        return min(each.until for each in self.utterances.values())


def only_fillers(text: str, fillers: Sequence[str]) -> bool:
    """Whether `text` says nothing but these, in any order, whatever its case and punctuation; nothing at all counts."""
    phrases = sorted({tuple(words_of(filler)) for filler in fillers}, key=len, reverse=True)
    words = words_of(text)
    at = 0
    while at < len(words):
        step = next((len(phrase) for phrase in phrases if phrase and tuple(words[at : at + len(phrase)]) == phrase), 0)
        if not step:
            return False
        at += step
    return True


def words_of(text: str) -> list[str]:
    """The words of a text, whatever its case and punctuation."""
    return re.findall(r"\w+", text.casefold())
