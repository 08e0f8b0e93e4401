"""The lines of a recording, and reading them.

A recording is a file of JSON lines, gzip or plain. The first is the header::

    {"trealtime_recording": 2, "audio": "keep", "session_id": "session_...", "versions": {"trealtime": ..., ...},
     "clock": {"unix_s": ..., "trio_s": ...}, "agent": ..., "settings": {...}, "model_settings": {...}}

Every other line has `at`, in seconds since the recording began, and one of these:

| key | value |
|---|---|
| `event` | a message on the wire that is a JSON object; `from` says whose: ``"client"`` or ``"server"`` |
| `text` | a message that is no JSON object, with `from` |
| `session` | an event of the session: its `type` and fields, without audio |
| `playback` | ``{"item_id", "content_index", "heard_ms", "until_ms"}``, see below |
| `connection` | ``{"number": 1, "url": ...}``: a connection has opened; with `failed`, it could not be opened |
| `closed` | ``{"code": 1000, "reason": "", "by": "client"}``: the connection has ended |
| `lost` | the number of lines that are missing here, because the disk was too slow |

A `playback` is the report of an endpoint: it has played up to `heard_ms` of the part, and plays on to `until_ms`. With
`from_ms` in place of `heard_ms`, the app has taken the audio from there to `until_ms`, and nothing reports when it is
heard.

Messages and ends of other connections than the first have its number as `wire`: two may be open at a time.

Version 1 has the header ``{"trealtime_recording": 1, "audio": "keep"}`` and only `event`, `text` and `closed`; `at`
counts from the opening of the connection. Lines with other keys belong to a newer version and are skipped.

The length stands in for audio that was left out, ``"<4800 bytes of audio>"``, and ``"<removed>"`` for secrets.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, Literal, Self

import attrs
import msgspec

from trealtime._value import Value
from trealtime.errors import RecordingError

__all__ = ["KINDS", "VERSION", "Header", "Line", "LineReader", "left_out_bytes", "read_line"]

VERSION: Final = 2

Kind = Literal["event", "text", "session", "playback", "connection", "closed", "lost"]
KINDS: Final[tuple[Kind, ...]] = ("event", "text", "session", "playback", "connection", "closed", "lost")

LONGEST_LINE: Final = 64 * 2**20
"""Bytes of one line. An event of the protocol has at most 15 MiB."""

_LONGEST_AUDIO: Final = 16 * 2**20
"""Bytes of audio that one event may leave out."""

_LEFT_OUT: Final = re.compile(r"<([0-9]+) bytes of audio>")
_READ_BYTES: Final = 256 * 2**10
_GZIP: Final = b"\x1f\x8b"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Header(Value):
    """The first line: the `version`, and the other values as they stand there."""

    version: int
    audio: bool
    values: Mapping[str, Any]

    @property
    def trio_s(self) -> float:
        """The time on Trio's clock at which the recording began; 0 where the file does not say."""
        clock = self.values.get("clock")
        value = clock.get("trio_s") if isinstance(clock, Mapping) else None
        return value if isinstance(value, (int, float)) and math.isfinite(value) else 0.0


@attrs.frozen(eq=False, repr=False)
class Line(Value):
    """A line after the header: `value` is what stands under the key `kind`; `sent_by` belongs to a wire message."""

    at_s: float
    kind: Kind
    value: Any
    sent_by: Literal["client", "server"] | None = None
    wire: int = 1
    """The connection that a message or an end belongs to."""


class LineReader:
    """Reads a recording line by line, in memory that does not grow with the file.

    Use it as a context manager; it is an iterator of `Line`. Raises `RecordingError`, with file and line, where a line
    is none; with `lenient`, reading ends there instead, and `problem` says why. A line that the end of the file has cut
    is no failure: the process that wrote it has died, or writes on. Then `cut` is True.
    """

    def __init__(self, path: str | Path, *, lenient: bool = False) -> None:
        self.path = Path(path)
        self.problem: str | None = None
        self.cut = False
        self._lenient = lenient
        self._number = 0
        self._file: IO[bytes] = self.path.open("rb")
        try:
            self._lines = _raw_lines(self._file, self)
            self.header = self._header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Line]:
        try:
            for raw in self._lines:
                self._number += 1
                line = self._read(raw)
                if line is not None:
                    yield line
        except RecordingError as error:
            if not self._lenient:
                raise
            self.problem = str(error)

    def _read(self, raw: bytes) -> Line | None:
        try:
            return read_line(raw)
        except WrongLine as wrong:
            raise self.error(str(wrong)) from None

    def error(self, problem: str) -> RecordingError:
        """Return an error about the line that is being read."""
        return RecordingError(f"{self.path}:{max(self._number, 1)}: {problem}")

    def _header(self) -> Header:
        raw = next(self._lines, b"")
        self._number = 1
        if b"\0" in raw[:1024]:
            raise self.error("not a recording: binary data")
        try:
            head = _object(raw)
        except WrongLine as wrong:
            raise self.error(f"{wrong}" if str(wrong).startswith("not JSON") else f"not a recording: {wrong}") from None
        version = head.get("trealtime_recording")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise self.error(f'not a recording: it begins with {{"trealtime_recording": {VERSION}}}')
        if version > VERSION:
            raise self.error(f"a recording of version {version}, and this trealtime reads versions 1 to {VERSION}")
        return Header(version=version, audio=head.get("audio") == "keep", values=head)


def _raw_lines(file: IO[bytes], reader: LineReader) -> Iterator[bytes]:
    """Yield the lines without their ends. One that the file's end cuts is the last, unless it is whole JSON."""
    rest = bytearray()
    for block in _blocks(file, reader):
        begin = 0
        while (end := block.find(b"\n", begin)) >= 0:
            rest += block[begin:end]
            yield bytes(rest)
            rest.clear()
            begin = end + 1
        rest += block[begin:]
        if len(rest) > LONGEST_LINE:
            raise reader.error(f"a line of more than {LONGEST_LINE >> 20} MiB")
    last = bytes(rest).strip()
    if reader._number and last.startswith(b"{") and not last.endswith(b"}"):
        reader.cut = True
    elif last:
        yield last


def _blocks(file: IO[bytes], reader: LineReader) -> Iterator[bytes]:
    first = file.read(_READ_BYTES)
    if not first.startswith(_GZIP):
        while first:
            yield first
            first = file.read(_READ_BYTES)
        return
    inflate = zlib.decompressobj(wbits=31)
    data = first
    while data:
        try:
            yield inflate.decompress(data, _READ_BYTES)
        except zlib.error as error:
            raise reader.error(f"not readable as gzip: {error}") from None
        # A block of zeros inflates a thousandfold, so what is not inflated yet waits.
        data = inflate.unconsumed_tail
        if inflate.eof:
            data = inflate.unused_data or file.read(_READ_BYTES)
            inflate = zlib.decompressobj(wbits=31)
            if data and not data.startswith(_GZIP):
                raise reader.error("something else follows the gzip data")
        elif not data:
            data = file.read(_READ_BYTES)
            if not data:
                reader.cut = True
                rest = inflate.flush()
                if rest:
                    yield rest


# ---- one line -------------------------------------------------------------------------------------------------------


class WrongLine(Exception):
    """A line that is none; the text says why."""


def read_line(raw: bytes) -> Line | None:
    """Return the line; None for one of a kind that this version does not know. Raises `WrongLine`."""
    entry = _object(raw)
    try:
        kind: Kind | None = next((each for each in KINDS if each in entry), None)
        if kind is None:
            if "from" in entry or len(entry) < 2:
                raise WrongLine("'text' is missing, or no text")
            return None
        at_s = _seconds(entry)
        if kind in ("event", "text"):
            sent_by = _one_of(entry, "from", ("client", "server"))
            return Line(at_s, kind, _message(entry, kind), sent_by, _wire(entry))
        if kind == "closed":
            _check_closed(entry["closed"])
        elif kind == "lost":
            _whole_number(entry, "lost")
        elif not isinstance(entry[kind], dict):
            raise WrongLine(f"{kind!r} is no JSON object")
        return Line(at_s, kind, entry[kind], wire=_wire(entry))
    except RecursionError as error:
        raise WrongLine(str(error)) from None


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        value = _slowly(raw)
    if not isinstance(value, dict):
        raise WrongLine("a line of a recording is a JSON object")
    return value


def _slowly(raw: bytes) -> Any:
    """Read what the quick reader refuses: half an emoji, a number of 400 digits, NaN; or say what is wrong."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WrongLine(f"not a recording: not UTF-8 text: {error.reason}") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WrongLine(f"not JSON: {error}") from None


def _message(entry: Mapping[str, Any], kind: str) -> Any:
    value = entry[kind]
    if kind == "text":
        if not isinstance(value, str):
            raise WrongLine("'text' is missing, or no text")
        return value
    if not isinstance(value, dict):
        raise WrongLine("'event' is no JSON object")
    _check_lengths(value)
    return value


def _check_closed(end: object) -> None:
    if not isinstance(end, dict):
        raise WrongLine("'closed' is no JSON object")
    code = end.get("code")
    if not isinstance(code, int) or isinstance(code, bool) or not 0 <= code <= 4999:
        raise WrongLine("'code' is missing, or no close code")
    _one_of(end, "by", ("client", "server", "network"))
    if not isinstance(end.get("reason"), str):
        raise WrongLine("'reason' is missing, or no text")


def _seconds(entry: Mapping[str, Any]) -> float:
    at_s = entry.get("at")
    # Comparing is exact for integers of any size, and false for NaN.
    if not isinstance(at_s, (int, float)) or isinstance(at_s, bool) or not 0 <= at_s <= 1e9 or math.isnan(at_s):
        raise WrongLine("'at' is missing, or no number of seconds")
    return at_s


def _wire(entry: Mapping[str, Any]) -> int:
    number = entry.get("wire", 1)
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= 1_000_000:
        raise WrongLine("'wire' is no number of a connection")
    return number


def _whole_number(entry: Mapping[str, Any], name: str) -> None:
    value = entry[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise WrongLine(f"{name!r} is no whole number")


def _one_of(entry: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> Any:
    value = entry.get(name)
    if not isinstance(value, str) or value not in allowed:
        raise WrongLine(f"{name!r} is missing, or none of {', '.join(allowed)}")
    return value


def left_out_bytes(value: object) -> int | None:
    """Return the length that stands in for audio that was left out; None for any other value."""
    found = _LEFT_OUT.fullmatch(value) if isinstance(value, str) and value.startswith("<") else None
    return int(found[1]) if found is not None else None


def _check_lengths(value: object) -> None:
    # A file of unknown origin must not make gigabytes of silence.
    if isinstance(value, dict):
        for each in value.values():
            _check_lengths(each)
    elif isinstance(value, list):
        for each in value:
            _check_lengths(each)
    elif (
        isinstance(value, str)
        and value.startswith("<")
        and (found := _LEFT_OUT.fullmatch(value))
        and (len(found[1]) > 9 or int(found[1]) > _LONGEST_AUDIO)
    ):
        raise WrongLine(f"more audio left out than an event can carry: {value[:60]}")
