"""What ``trealtime tail`` reads: recordings that are still being written, from where it stopped reading last."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from trealtime._recordings.lines import LONGEST_LINE, WrongLine, read_line
from trealtime.terminal import printable

__all__ = ["Folder", "FollowedFile"]

_READ_BYTES: Final = 256 * 2**10
_GZIP: Final = b"\x1f\x8b"
_SHOWN: Final = (b'"session"', b'"trealtime_recording"', b'"connection"', b'"closed"', b'"lost"')
"""What stands at the head of a line that may be shown: most lines are wire events, which are not read."""

_HEAD_BYTES: Final = 96
_LONGEST_QUIET_S: Final = 60.0
"""A file that has not grown for so long when tail begins is over, unless it grows again."""


@attrs.define(eq=False)
class FollowedFile:
    """One recording. `next_lines` gives what has come since the last call, as lines for the terminal."""

    path: Path
    slow_s: float
    silent_to: int = 0
    """What stands before this place in the file is read and not shown."""

    _offset: int = attrs.field(default=0, init=False)
    _inflate: Any = attrs.field(default=None, init=False)
    _rest: bytearray = attrs.field(factory=bytearray, init=False)
    _began_at: float = attrs.field(default=0.0, init=False)
    _name: str = attrs.field(default="", init=False)
    _agent: str = attrs.field(default="", init=False)
    _broken: bool = attrs.field(default=False, init=False)

    def next_lines(self) -> Iterator[str]:
        """Read what has come. A file that cannot be read says so once, and is left alone then."""
        if self._broken:
            return
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                while block := file.read(self._room):
                    silent = self._offset < self.silent_to
                    self._offset += len(block)
                    for raw in self._split(block):
                        line = self._shown(raw)
                        if line is not None and not silent:
                            yield line
        except (OSError, zlib.error, WrongLine) as error:
            self._broken = True
            yield self._line(time.time(), f"not readable: {error}")

    @property
    def _room(self) -> int:
        """How much to read in one go: what is not shown ends with a block."""
        unseen = self.silent_to - self._offset
        return min(_READ_BYTES, unseen) if unseen > 0 else _READ_BYTES

    def _split(self, block: bytes) -> Iterator[bytes]:
        """Yield the whole lines in the next block of the file."""
        if self._offset == len(block) and block.startswith(_GZIP):
            self._inflate = zlib.decompressobj(wbits=31)
        for data in self._inflated(block) if self._inflate is not None else (block,):
            begin = 0
            while (end := data.find(b"\n", begin)) >= 0:
                self._rest += data[begin:end]
                yield bytes(self._rest)
                self._rest.clear()
                begin = end + 1
            self._rest += data[begin:]
            if len(self._rest) > LONGEST_LINE:
                raise WrongLine(f"a line of more than {LONGEST_LINE >> 20} MiB")

    def _inflated(self, block: bytes) -> Iterator[bytes]:
        while block:
            yield self._inflate.decompress(block, _READ_BYTES)
            block = self._inflate.unconsumed_tail
            if self._inflate.eof:
                block = self._inflate.unused_data
                self._inflate = zlib.decompressobj(wbits=31)

    # ---- lines ---------------------------------------------------------------------------------------------------

    def _shown(self, raw: bytes) -> str | None:
        """Return a line for the terminal, None for what is not shown."""
        head = raw[:_HEAD_BYTES]
        if not any(key in head for key in _SHOWN):
            return None
        if b'"trealtime_recording"' in head:
            return self._header(raw)
        line = read_line(raw)
        if line is None:
            return None
        at, value = self._began_at + line.at_s, line.value
        if line.kind == "session":
            return self._event(at, value)
        if line.kind == "connection" and isinstance(value, Mapping):
            number = value.get("number")
            failed = " failed" if "failed" in value else ""
            return self._line(at, f"connection {number}{failed}") if number != 1 or failed else None
        if line.kind == "closed":
            return self._line(at, f"closed with {value.get('code')} by the {value.get('by')}")
        return self._line(at, f"{value} lines are missing: the disk was too slow") if line.kind == "lost" else None

    def _header(self, raw: bytes) -> str:
        # Values of a file that somebody else may have written: each is looked at before it is used.
        import msgspec

        try:
            head = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, ValueError) as error:
            raise WrongLine("no header") from error
        values: Mapping[str, Any] = head if isinstance(head, dict) else {}
        clock = values.get("clock")
        times: Mapping[str, Any] = clock if isinstance(clock, Mapping) else {}
        self._began_at = _seconds(times.get("unix_s")) or self.path.stat().st_mtime
        self._name = str(values.get("session_id") or self.path.name.partition(".")[0])
        self._agent = str(values.get("agent") or "")
        return self._line(self._began_at, "opened")

    def _event(self, at: float, event: Any) -> str | None:
        if not isinstance(event, Mapping):
            return None
        kind = event.get("type")
        if kind == "turn_ended" and isinstance(metrics := event.get("metrics"), Mapping):
            return self._line(at, turn_line(metrics, slow_s=self.slow_s))
        if kind == "error":
            error = event.get("error")  # with the text of the exception, which may quote people
            name = error.partition(":")[0] if isinstance(error, str) else "an error of the server"
            if isinstance(error, Mapping):
                name = str(error.get("code") or error.get("type") or name)
            return self._line(at, f"ERROR {name}")
        if kind == "handoff":
            self._agent = str(event.get("to_agent"))
            return self._line(at, "took over")
        return None

    def _line(self, at: float, text: str) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(at))
        return printable(f"{clock}  {self._name[-12:]:12}  {self._agent[:16]:16}  {text}").rstrip()


def turn_line(metrics: Mapping[str, Any], *, slow_s: float) -> str:
    """Return the figures of a recorded turn in a line; an answer that was heard later than `slow_s` has a mark."""
    begun = _seconds(metrics.get("speech_ended_at"))
    begun = begun if begun is not None else _seconds(metrics.get("requested_at"))
    heard = _seconds(metrics.get("first_heard_at"))
    latency = None if begun is None or heard is None else heard - begun
    parts = [f"#{metrics.get('number')} {metrics.get('source')} {metrics.get('status')}"]
    if metrics.get("reason"):
        parts[0] += f" ({metrics['reason']})"
    if latency is not None:
        parts.append(f"heard after {latency * 1000:.0f} ms{' SLOW' if latency > slow_s else ''}")
    stop = metrics.get("interruption")
    if isinstance(stop, Mapping):
        onset, silent = _seconds(stop.get("onset_at")), _seconds(stop.get("silent_at"))
        took = "" if onset is None or silent is None else f", silent after {(silent - onset) * 1000:.0f} ms"
        parts.append(f"interrupted by {stop.get('cause')}{took}")
    tools = metrics.get("tools")
    parts += [_tool(tool) for tool in (tools if isinstance(tools, list) else ()) if isinstance(tool, Mapping)]
    usage = metrics.get("usage")
    if isinstance(usage, Mapping) and usage.get("total_tokens") is not None:
        parts.append(f"{usage['total_tokens']} tokens")
    return ", ".join(parts)


def _tool(tool: Mapping[str, Any]) -> str:
    began, ended = _seconds(tool.get("started_at")), _seconds(tool.get("ended_at"))
    took = "" if began is None or ended is None else f" {(ended - began) * 1000:.0f} ms"
    failed = "" if tool.get("status") == "completed" else f" {tool.get('status')}"
    return f"{tool.get('name')}{took}{failed}"


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


@attrs.define(eq=False)
class Folder:
    """All recordings of a folder. `whole`: also what is there already."""

    path: Path
    slow_s: float
    whole: bool
    _files: dict[Path, FollowedFile] = attrs.field(factory=dict, init=False)
    _sizes: dict[Path, int] = attrs.field(factory=dict, init=False)
    _begun: bool = attrs.field(default=False, init=False)

    def next_lines(self) -> Iterator[str]:
        """Read what has come in all of them, new ones included. Raises `OSError` for a folder that cannot be read."""
        for path in sorted(each for each in self.path.iterdir() if each.name.endswith((".jsonl", ".jsonl.gz"))):
            try:
                status = path.stat()
            except OSError:  # it has gone meanwhile
                continue
            if self._sizes.get(path) == status.st_size:
                continue
            known = self._sizes.get(path)
            self._sizes[path] = status.st_size
            if not self._begun and not self.whole and time.time() - status.st_mtime > _LONGEST_QUIET_S:
                continue
            if path not in self._files:
                before = status.st_size if not self._begun else known or 0
                self._files[path] = FollowedFile(path, self.slow_s, 0 if self.whole else before)
            yield from self._files[path].next_lines()
        self._begun = True
