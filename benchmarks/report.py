"""Results: rows of a table, as text and as JSON, and the machine they come from."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

__all__ = ["Result", "machine", "percentile", "table"]

_PACKAGES = ("trio", "trio-websocket", "wsproto", "msgspec", "pybase64", "attrs", "numpy")


@attrs.frozen(kw_only=True)
class Result:
    """One line of the table. `bare` is None where there is nothing to compare with."""

    measure: str
    unit: str
    library: float
    bare: float | None = None
    note: str = ""
    library_rounds: Sequence[float] = ()
    bare_rounds: Sequence[float] = ()

    @classmethod
    def of_rounds(
        cls, measure: str, unit: str, library: Sequence[float], bare: Sequence[float], *, note: str = ""
    ) -> Result:
        """Take each side's best round: other work of the machine can only add to it. Such work hits both rounds of a
        pair alike, so the median of their ratios is a second opinion."""
        pairs = [ours / theirs for ours, theirs in zip(library, bare, strict=True)]
        spread = f"median of pairs {statistics.median(pairs):.2f}"
        return cls(
            measure=measure,
            unit=unit,
            library=min(library),
            bare=min(bare),
            note=f"{note}; {spread}" if note else spread,
            library_rounds=library,
            bare_rounds=bare,
        )

    @property
    def ratio(self) -> float | None:
        return self.library / self.bare if self.bare else None

    def as_json(self) -> dict[str, Any]:
        return {**attrs.asdict(self), "ratio": self.ratio}


def table(results: Sequence[Result]) -> str:
    """The results as a Markdown table, aligned for terminals."""
    head = ("measure", "unit", "library", "bare", "ratio", "note")
    rows = [head, *(_cells(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    numeric = range(2, 5)

    def line(cells: Sequence[str]) -> str:
        return (
            "| "
            + " | ".join(
                cell.rjust(width) if column in numeric else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
            )
            + " |"
        )

    rule = "|" + "|".join("-" * (width + 1) + (":" if i in numeric else "-") for i, width in enumerate(widths)) + "|"
    return "\n".join((line(head), rule, *(line(row) for row in rows[1:])))


def _cells(result: Result) -> tuple[str, ...]:
    ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
    bare = "" if result.bare is None else _number(result.bare)
    return (result.measure, result.unit, _number(result.library), bare, ratio, result.note)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` % of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


def machine() -> str:
    """Processor, cores, Python and packages in one line."""
    return ", ".join(
        (
            _processor(),
            f"{os.cpu_count()} cores",
            platform.system(),
            f"{platform.python_implementation()} {platform.python_version()}",
            *(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES),
        )
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
