"""Lines to bytes, and bytes to a file or to memory.

Secrets are removed here, and audio where it is not kept. A user's `redact` sees a line after that; a line for which it
raises is not written.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, Protocol

import attrs
import msgspec

from trealtime._recordings.redact import Redact
from trealtime._secrets import redacted
from trealtime._value import Value

__all__ = ["FileSink", "LineEncoder", "MemorySink", "Sink", "open_file", "without_audio"]

_encode: Final = msgspec.json.Encoder().encode
_LEVEL: Final = 5


class Sink(Protocol):
    """Where the bytes go. Called from one thread at a time."""

    name: str

    def write(self, data: bytes) -> None:
        """Write whole lines, so that a reader of the file finds them."""

    def close(self) -> None:
        """Finish the file."""

    def blocks(self) -> Iterator[bytes]:
        """Return what has been written so far."""
        ...


@attrs.frozen(eq=False, repr=False)
class LineEncoder(Value):
    """Makes the bytes of lines."""

    keeps_audio: bool = True
    redact: Redact | None = None

    def encode(self, line: dict[str, Any]) -> bytes:
        """Return the line with its end; empty where `redact` leaves it out. Raises what `redact` raises."""
        shown = redacted(line if self.keeps_audio else without_audio(line))
        if self.redact is not None:
            kept = self.redact(shown)
            if kept is None:
                return b""
            shown = dict(kept)
        try:
            return _encode(shown) + b"\n"
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
            # Half an emoji has no UTF-8 form, and a number of 400 digits no machine's; both are JSON all the same.
            return json.dumps(shown, default=str).encode("ascii") + b"\n"

    def encode_message(self, at_s: float, sent_by: str, message: str | bytes, wire: int = 1) -> bytes:
        """Return the line of a message on connection number `wire`."""
        head: dict[str, Any] = {"at": at_s, "from": sent_by}
        if wire > 1:
            head["wire"] = wire
        try:
            event = _read(message)
        except RecursionError:
            return self.encode({**head, "text": f"<{len(message)} characters, nested too deeply>"})
        if isinstance(event, dict):
            try:
                return self.encode({**head, "event": event})
            except RecursionError:
                return self.encode({**head, "text": f"<{len(message)} characters, nested too deeply>"})
        text = message if isinstance(message, str) else bytes(message).decode("utf-8", "replace")
        return self.encode({**head, "text": text})


def _read(message: str | bytes) -> Any:
    try:
        return msgspec.json.decode(message)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:
        return json.loads(message)
    except ValueError:
        return None


def without_audio(value: Any, event_type: str = "") -> Any:
    """Return `value` with the length in place of audio."""
    if isinstance(value, list):
        return [without_audio(each, event_type) for each in value]
    if not isinstance(value, Mapping):
        return value
    kind = value.get("type")
    kind = kind if isinstance(kind, str) else event_type
    return {
        key: _audio_left_out(each)
        if isinstance(each, str) and (key == "audio" or (key == "delta" and kind.endswith("audio.delta")))
        else without_audio(each, kind)
        for key, each in value.items()
    }


def _audio_left_out(data: str) -> str:
    return f"<{len(data) * 3 // 4 - data[-2:].count('=')} bytes of audio>"


# ---- where the bytes go ---------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class FileSink:
    """A file, compressed if its name ends in ``.gz``: each write ends a block, so that a running file can be read."""

    _file: IO[bytes]
    name: str
    _packer: Any = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        if self.name.endswith(".gz"):
            self._packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)

    def write(self, data: bytes) -> None:
        """Write whole lines, so that a reader of the file finds them."""
        if self._packer is not None:
            data = self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        self._put(data)

    def close(self) -> None:
        """Finish the file."""
        try:
            if self._packer is not None:
                self._put(self._packer.flush())
        finally:
            self._file.close()

    def blocks(self) -> Iterator[bytes]:
        """Return what has been written so far."""
        packed = self._packer is not None
        inflate = zlib.decompressobj(wbits=31)
        with Path(self.name).open("rb") as file:
            while block := file.read(1 << 18):
                yield inflate.decompress(block) if packed else block

    def _put(self, data: bytes) -> None:
        # An unbuffered file takes what the disk has room for: less than all of it, before it raises.
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]


@attrs.define(eq=False)
class MemorySink:
    """Memory, at most `bound` bytes of it."""

    bound: int
    name: str = "in memory"
    _kept: list[bytes] = attrs.field(factory=list, init=False)
    _size: int = attrs.field(default=0, init=False)

    def write(self, data: bytes) -> None:
        """Keep whole lines. Raises OSError once the bound is reached."""
        self._size += len(data)
        if self._size > self.bound:
            raise OSError(f"it has reached its bound of {self.bound} bytes")
        self._kept.append(zlib.compress(data, 1))

    def close(self) -> None:
        """Do nothing: the lines stay."""

    def blocks(self) -> Iterator[bytes]:
        """Return what has been written so far."""
        return map(zlib.decompress, self._kept)


def open_file(path: Path, *, replace: bool = False) -> FileSink:
    """Create the file, for its owner alone. Raises `OSError`.

    A file of that name is replaced; or it stays, the new one is ``name-2``, ``name-3``..., and folders are made.
    """
    if not replace:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if replace else os.O_EXCL) | getattr(os, "O_CLOEXEC", 0)
    number = 1
    while True:
        name, dot, suffixes = path.name.partition(".")
        numbered = path if number == 1 else path.with_name(f"{name}-{number}{dot}{suffixes}")
        try:
            handle = os.open(numbered, flags, 0o600)
        except FileExistsError:
            number += 1
            continue
        if replace and hasattr(os, "fchmod"):
            os.fchmod(handle, 0o600)  # it may have been there before
        return FileSink(os.fdopen(handle, "wb", buffering=0), str(numbered))
