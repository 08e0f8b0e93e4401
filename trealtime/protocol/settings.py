"""Settings of a session: the content of ``model_settings`` and ``initial_model_settings``.

Each class can be given as a mapping with the same keys. Every field may be left out. None has one meaning: where a
field takes it, it is an explicit null, which switches the thing off (``turn_detection=None`` means manual turns); where
a field does not, None counts as left out.

`SessionSettings` has two spellings for what sits under ``audio``: nested, as on the wire, and flat, as in older
programs. When one mapping has both, the nested one wins; `merge_settings` folds the flat ones away.

Constructors check nothing: `session_settings` does, for mappings and instances alike, and reports all problems at once.

`extra` goes into the wire object of its class last and unchecked: for fields and values newer than this library, and
for those of other vendors (``TurnDetectionSettings(extra={"type": "azure_semantic_vad"})``).
"""

# ruff: noqa: RUF009  # `setting` makes an attrs field, as `attrs.field` does
from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from trealtime._secrets import shown
from trealtime._value import Value
from trealtime.audio.formats import AudioFormat, parse_audio_format
from trealtime.errors import AudioFormatError
from trealtime.protocol.validation import NOT_SET, NotSet, WrongValue, setting, structure

__all__ = [
    "NOT_SET",
    "AudioInputSettings",
    "AudioOutputSettings",
    "AudioSettings",
    "CustomVoice",
    "NoiseReductionSettings",
    "NotSet",
    "PromptSettings",
    "ReasoningSettings",
    "ResponseSettings",
    "SessionSettings",
    "TokenLimits",
    "TracingSettings",
    "TranscriptionSettings",
    "TruncationSettings",
    "TurnDetectionSettings",
    "merge_settings",
    "session_settings",
]

Modality = Literal["text", "audio"]
AnyFormat = AudioFormat | str | Mapping[str, Any]


def _read_format(value: object) -> AudioFormat:
    try:
        return parse_audio_format(value)
    except AudioFormatError as error:
        raise WrongValue("pcm16 (24 kHz), g711_ulaw or g711_alaw (8 kHz), in any spelling, at no other rate") from error


def _read_modalities(value: object) -> tuple[Modality, ...] | NotSet:
    # Audio brings its transcript along, so the two together are not a choice of their own.
    if isinstance(value, Sequence) and not isinstance(value, str):
        if not value:
            return NOT_SET
        if len(value) == 1 and value[0] in ("audio", "text"):
            return tuple(value)
    raise WrongValue('["audio"] (speech with its transcript) or ["text"]')


def _read_max_tokens(value: object) -> int | Literal["inf"]:
    if value == "inf":
        return "inf"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise WrongValue('a whole number from 1, or "inf"')


def _read_tool_choice(value: object) -> str | Mapping[str, Any]:
    if isinstance(value, str) and value and value != "programmatic_tool_calling":
        return value
    if isinstance(value, Mapping):
        must_have = {"function": "name", "mcp": "server_label"}.get(str(value.get("type")))
        if must_have is not None and isinstance(value.get(must_have), str):
            return value
    raise WrongValue(
        '"auto", "none", "required", the name of a tool, {"type": "function", "name": ...} or '
        '{"type": "mcp", "server_label": ...}'
    )


def _read_metadata(value: object) -> dict[str, str]:
    # The service takes 16 pairs; one of them is ours, to know the response by.
    if isinstance(value, Mapping) and len(value) <= 15:
        fits = (isinstance(k, str) and isinstance(v, str) and len(k) <= 64 and len(v) <= 512 for k, v in value.items())
        if all(fits):
            return dict(value)
    raise WrongValue("up to 15 pairs of strings, keys up to 64 characters, values up to 512")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CustomVoice(Value):
    """A voice of one's own."""

    id: str = setting(attrs.NOTHING, at_least=1)
    extra: Mapping[str, Any] | NotSet = setting(repr=shown)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PromptSettings(Value):
    """A prompt stored on the server, with the values of its variables."""

    id: str = setting(attrs.NOTHING, at_least=1)
    version: str | NotSet | None = setting()
    variables: Mapping[str, Any] | NotSet | None = setting()
    extra: Mapping[str, Any] | NotSet = setting(repr=shown)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TracingSettings(Value):
    """Names under which the server files its trace. Cannot be changed once tracing is on."""

    workflow_name: str | NotSet = setting()
    group_id: str | NotSet = setting()
    metadata: Mapping[str, Any] | NotSet = setting()
    extra: Mapping[str, Any] | NotSet = setting(repr=shown)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ReasoningSettings(Value):
    """The effort of a reasoning model before it speaks."""

    effort: Literal["minimal", "low", "medium", "high", "xhigh"] | NotSet = setting()
    extra: Mapping[str, Any] | NotSet = setting(repr=shown)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TokenLimits(Value):
    """`post_instructions`: tokens of conversation to keep, not counting the instructions."""

    post_instructions: int | NotSet = setting(at_least=0)
    extra: Mapping[str, Any] | NotSet = setting(repr=shown)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TruncationSettings(Value):
    """Truncation of a full context: keep `retention_ratio` (0 to 1) of it."""

    retention_ratio: float = setting(attrs.NOTHING, at_least=0, at_most=1)
    token_limits: TokenLimits | NotSet = setting()
    type: Literal["retention_ratio"] = setting("retention_ratio")
    extra: Mapping[str, Any] | NotSet = setting(repr=shown)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TranscriptionSettings(Value):
    """Transcription of the user's speech.

    Some models take `languages` and `keywords` (gpt-transcribe), `delay` (gpt-realtime-whisper) and `prompt` (all but
    gpt-realtime-whisper). The default model, gpt-4o-mini-transcribe, is the OpenAI Agents SDK's; the service has
    announced its end for 2027-02-26.
    """

    model: str | NotSet = setting(at_least=1)
    language: str | NotSet = setting()
    prompt: str | NotSet = setting()
    keywords: Sequence[str] | NotSet = setting()
    languages: Sequence[str] | NotSet = setting(at_least=1)
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | NotSet = setting()
    extra: Mapping[str, Any] | NotSet = setting(repr=shown)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class NoiseReductionSettings(Value):
    """Cleaning of the user's audio: ``near_field`` for a headset, ``far_field`` for a laptop or a room.

    `strength` says how much; the service begins with 1, and an update without it leaves it as it is.
    """

    type: Literal["near_field", "far_field"] = setting(attrs.NOTHING)
    strength: float | NotSet = setting(at_least=0)
    extra: Mapping[str, Any] | NotSet = setting(repr=shown)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TurnDetectionSettings(Value):
    """Detection of the beginning and end of the user's turns by the server.

    ``server_vad`` goes by loudness: `threshold` 0 to 1, `prefix_padding_ms`, `silence_duration_ms`, `idle_timeout_ms`
    (5000 to 30000, or None: off). ``semantic_vad`` goes by meaning: `eagerness`. Both: whether the end of a turn
    creates a response, whether the begin of one interrupts. Without `type` it is ``server_vad`` when a field of that
    type is given, else ``semantic_vad``.
    """

    type: Literal["server_vad", "semantic_vad"] | NotSet = setting()
    create_response: bool | NotSet = setting(alias="createResponse")
    interrupt_response: bool | NotSet = setting(alias="interruptResponse")
    eagerness: Literal["auto", "low", "medium", "high"] | NotSet = setting()
    threshold: float | NotSet = setting(at_least=0, at_most=1)
    prefix_padding_ms: int | NotSet = setting(at_least=0, alias="prefixPaddingMs")
    silence_duration_ms: int | NotSet = setting(at_least=0, alias="silenceDurationMs")
    idle_timeout_ms: int | NotSet | None = setting(at_least=5000, at_most=30_000, alias="idleTimeoutMs")
    model_version: str | NotSet = setting(alias="modelVersion")
    extra: Mapping[str, Any] | NotSet = setting(repr=shown)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AudioInputSettings(Value):
    """The user's audio. `format`: ``pcm16``, ``g711_ulaw``, ``g711_alaw`` in any spelling that
    `trealtime.audio.formats.parse_audio_format` reads."""

    format: AnyFormat | NotSet = setting(read=_read_format)
    noise_reduction: NoiseReductionSettings | NotSet | None = setting()
    transcription: TranscriptionSettings | NotSet | None = setting()
    turn_detection: TurnDetectionSettings | NotSet | None = setting()
    extra: Mapping[str, Any] | NotSet = setting(repr=shown)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AudioOutputSettings(Value):
    """The agent's audio. `voice` cannot change once the agent has spoken; `speed` 0.25 to 1.5."""

    format: AnyFormat | NotSet = setting(read=_read_format)
    voice: str | CustomVoice | NotSet = setting(at_least=1)
    speed: float | NotSet = setting(at_least=0.25, at_most=1.5)
    extra: Mapping[str, Any] | NotSet = setting(repr=shown)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AudioSettings(Value):
    """Audio of both directions."""

    input: AudioInputSettings | NotSet = setting()
    output: AudioOutputSettings | NotSet = setting()
    extra: Mapping[str, Any] | NotSet = setting(repr=shown)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionSettings(Value):
    """All settings of a session.

    Flat spellings, older and weaker than those under `audio`: `voice`, `speed`, `input_audio_format`,
    `output_audio_format`, `input_audio_transcription`, `input_audio_noise_reduction`, `turn_detection`; and
    `modalities` for `output_modalities`. `tools` and `handoffs` are kept as they are given; on the wire they must be
    mappings.
    """

    model_name: str | NotSet = setting(at_least=1)
    instructions: str | NotSet = setting()
    prompt: PromptSettings | NotSet | None = setting()
    output_modalities: Sequence[Modality] | NotSet = setting(read=_read_modalities)
    modalities: Sequence[Modality] | NotSet = setting(read=_read_modalities)
    audio: AudioSettings | NotSet = setting()
    voice: str | CustomVoice | NotSet = setting(at_least=1)
    speed: float | NotSet = setting(at_least=0.25, at_most=1.5)
    input_audio_format: AnyFormat | NotSet = setting(read=_read_format)
    output_audio_format: AnyFormat | NotSet = setting(read=_read_format)
    input_audio_transcription: TranscriptionSettings | NotSet | None = setting()
    input_audio_noise_reduction: NoiseReductionSettings | NotSet | None = setting()
    turn_detection: TurnDetectionSettings | NotSet | None = setting()
    max_output_tokens: int | Literal["inf"] | NotSet = setting(read=_read_max_tokens)
    tool_choice: str | Mapping[str, Any] | NotSet = setting(read=_read_tool_choice)
    parallel_tool_calls: bool | NotSet = setting()
    reasoning: ReasoningSettings | NotSet = setting()
    truncation: Literal["auto", "disabled"] | TruncationSettings | NotSet = setting()
    tracing: Literal["auto"] | TracingSettings | NotSet | None = setting()
    include: Sequence[Literal["item.input_audio_transcription.logprobs"]] | NotSet = setting()
    tools: Sequence[Any] | NotSet = setting(repr=shown)
    handoffs: Sequence[Any] | NotSet = setting()
    extra: Mapping[str, Any] | NotSet = setting(repr=shown)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseSettings(Value):
    """Settings of one response. Where one is not set, the session's holds.

    `voice` and `output_audio_format` are those of its audio.
    """

    instructions: str | NotSet = setting()
    output_modalities: Sequence[Modality] | NotSet = setting(read=_read_modalities)
    metadata: Mapping[str, str] | NotSet = setting(read=_read_metadata)
    tool_choice: str | Mapping[str, Any] | NotSet = setting(read=_read_tool_choice)
    parallel_tool_calls: bool | NotSet = setting()
    max_output_tokens: int | Literal["inf"] | NotSet = setting(read=_read_max_tokens)
    voice: str | CustomVoice | NotSet = setting(at_least=1)
    output_audio_format: AnyFormat | NotSet = setting(read=_read_format)
    prompt: PromptSettings | NotSet = setting()
    reasoning: ReasoningSettings | NotSet = setting()
    extra: Mapping[str, Any] | NotSet = setting(repr=shown)


def session_settings(
    value: SessionSettings | Mapping[str, object] | None, *, path: str = "", what: str = "model_settings"
) -> SessionSettings:
    """Return `value`, checked; None stands for no settings. Raises `SettingsError` with every problem in it."""
    return structure(SessionSettings, {} if value is None else value, path=path, what=what)


# ---- layers ---------------------------------------------------------------------------------------------------------


def merge_settings(*layers: SessionSettings) -> SessionSettings:
    """Return one settings object out of checked layers, later ones over earlier, with no flat spellings left.

    A flat spelling in a later layer beats a nested one in an earlier. Two turn detections of different types, two
    prompts of different ids, two tracings do not mix: the later one stands alone.
    """
    merged = SessionSettings()
    for layer in layers:
        merged = _over(merged, _nested(layer))
    return merged


def _nested(layer: SessionSettings) -> SessionSettings:
    """Return `layer` with its flat spellings moved to where they belong, unless a nested one stands there already."""
    flat_audio = AudioSettings(
        input=AudioInputSettings(
            format=layer.input_audio_format,
            noise_reduction=layer.input_audio_noise_reduction,
            transcription=layer.input_audio_transcription,
            turn_detection=layer.turn_detection,
        ),
        output=AudioOutputSettings(format=layer.output_audio_format, voice=layer.voice, speed=layer.speed),
    )
    nested = layer.audio if layer.audio is not NOT_SET else AudioSettings()
    return attrs.evolve(
        layer,
        audio=AudioSettings(
            input=_first(nested.input, flat_audio.input),
            output=_first(nested.output, flat_audio.output),
            extra=nested.extra,
        ),
        output_modalities=layer.output_modalities if layer.output_modalities is not NOT_SET else layer.modalities,
        modalities=NOT_SET,
        voice=NOT_SET,
        speed=NOT_SET,
        input_audio_format=NOT_SET,
        output_audio_format=NOT_SET,
        input_audio_transcription=NOT_SET,
        input_audio_noise_reduction=NOT_SET,
        turn_detection=NOT_SET,
    )


def _first(strong: Any, weak: Any) -> Any:
    """Return `strong` with its unset fields taken from `weak`, whole: the two spellings of a setting do not mix."""
    if strong is NOT_SET:
        return weak
    unset = [field.name for field in attrs.fields(type(strong)) if getattr(strong, field.name) is NOT_SET]
    return attrs.evolve(strong, **{name: getattr(weak, name) for name in unset})


def _over(base: Any, top: Any) -> Any:
    changes: dict[str, object] = {}
    for field in attrs.fields(type(base)):
        new, old = getattr(top, field.name), getattr(base, field.name)
        if new is NOT_SET:
            continue
        if field.name == "extra" and old is not NOT_SET:
            new = deep_merge(old, new)
        changes[field.name] = _over(old, new) if _mixes(old, new) else new
    return attrs.evolve(base, **changes)


def _mixes(old: object, new: object) -> bool:
    if isinstance(old, TurnDetectionSettings) and isinstance(new, TurnDetectionSettings):
        return new.type is NOT_SET or old.type is NOT_SET or new.type == old.type
    if isinstance(old, PromptSettings) and isinstance(new, PromptSettings):
        return new.id == old.id
    mixing = (AudioSettings, AudioInputSettings, AudioOutputSettings, TranscriptionSettings, ReasoningSettings)
    return isinstance(new, mixing) and type(old) is type(new)


def deep_merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return `new` laid over `old`: mappings inside merge key by key, anything else is replaced."""
    merged = dict(old)
    for key, value in new.items():
        below = merged.get(key)
        merged[key] = deep_merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def sharing(new: Any, known: Any) -> Any:
    """Return `new`, JSON, made of the parts of `known` where they are equal, so that one copy is kept."""
    if isinstance(new, dict) and isinstance(known, Mapping):
        entries = {key: sharing(value, known[key]) if key in known else value for key, value in new.items()}
        same = type(known) is dict and len(known) == len(entries)
        return known if same and all(key in known and known[key] is entries[key] for key in entries) else entries
    if isinstance(new, list) and isinstance(known, list | tuple):
        values = [*map(sharing, new, known), *new[len(known) :]]
        same = type(known) is list and len(known) == len(values)
        return known if same and all(map(operator.is_, known, values)) else values
    return known if type(new) is type(known) and new == known else new
