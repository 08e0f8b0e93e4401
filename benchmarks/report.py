"""Results: rows of a table, as text and as JSON, and the machine they come from."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

__all__ = ["Result", "machine", "percentile", "table"]

_PACKAGES = ("trio", "websockets", "trio-websocket", "wsproto", "msgspec", "pybase64", "attrs", "numpy")


@attrs.frozen(kw_only=True)
class Result:
    """One line of the table: a figure of each side, the library's first."""

    measure: str
    unit: str
    figures: Mapping[str, float]
    note: str = ""
    rounds: Mapping[str, Sequence[float]] = attrs.Factory(dict)

    @classmethod
    def of_rounds(cls, measure: str, unit: str, rounds: Mapping[str, Sequence[float]], *, note: str = "") -> Result:
        """Take each side's best round: other work of the machine can only add to it. Such work hits neighbouring rounds
        alike, so the median of their ratios is a second opinion, with its quartiles."""
        (_, ours), *others = rounds.items()
        medians = "; ".join(f"median of pairs, {name}: {_spread(ours, theirs)}" for name, theirs in others)
        return cls(
            measure=measure,
            unit=unit,
            figures={name: min(each) for name, each in rounds.items()},
            note=f"{note}; {medians}" if note else medians,
            rounds=rounds,
        )

    @classmethod
    def of_medians(cls, measure: str, unit: str, rounds: Mapping[str, Sequence[float]]) -> Result:
        """Take the median of each side's rounds. The first side is the library. The note tells the quartiles of the
        ratios of neighbouring rounds."""
        (_, ours), *others = rounds.items()
        spreads = [
            f"{name} {_quartiles(ours, theirs)}"
            for name, theirs in others
            if len(ours) == len(theirs) > 2 and all(theirs)
        ]
        return cls(
            measure=measure,
            unit=unit,
            figures={name: statistics.median(each) for name, each in rounds.items() if each},
            note=f"quartiles: {'; '.join(spreads)}" if spreads else "",
            rounds=rounds,
        )

    @property
    def ratios(self) -> dict[str, float]:
        """The library's figure divided by that of each other side: the median of pairs where there are rounds."""
        (library, ours), *others = self.figures.items()
        mine = self.rounds.get(library, ())
        pairs = {
            name: [one / other for one, other in zip(mine, self.rounds[name], strict=True)]
            for name, theirs in others
            if len(mine) == len(self.rounds.get(name, ())) > 1 and all(self.rounds[name])
        }
        if len(pairs) == len(others):
            return {name: statistics.median(each) for name, each in pairs.items()}
        return {name: ours / theirs for name, theirs in others if theirs}

    def as_line(self) -> str:
        """Return it as one line of text."""
        sides = ", ".join(f"{name} {_figure(self, name)}" for name in self.figures)
        return f"{self.measure} [{self.unit}]: {sides}"

    def as_json(self) -> dict[str, Any]:
        return {**attrs.asdict(self), "ratios": self.ratios}


def _spread(ours: Sequence[float], theirs: Sequence[float]) -> str:
    pairs = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    if len(pairs) < 2:
        return f"{pairs[0]:.2f}"
    return f"{statistics.median(pairs):.2f} ({_quartiles(ours, theirs)})"


def _quartiles(ours: Sequence[float], theirs: Sequence[float]) -> str:
    pairs = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    low, _, high = statistics.quantiles(pairs, n=4, method="inclusive")
    return f"{low:.2f} to {high:.2f}"


def table(results: Sequence[Result]) -> str:
    """The results as a Markdown table, aligned for terminals. Behind the figure of another side stands the library's
    as a multiple of it."""
    sides = list(dict.fromkeys(name for result in results for name in result.figures))
    head = ("measure", "unit", *sides, "note")
    rows = [head, *(_cells(result, sides) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    numeric = range(2, 2 + len(sides))

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


def _cells(result: Result, sides: Sequence[str]) -> tuple[str, ...]:
    figures = (_figure(result, side) for side in sides)
    return (result.measure, result.unit, *figures, result.note)


def _figure(result: Result, side: str) -> str:
    figure, ratio = result.figures.get(side), result.ratios.get(side)
    if figure is None:
        return ""
    return _number(figure) if ratio is None else f"{_number(figure)} ({ratio:.2f})"


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
