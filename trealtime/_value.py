"""The base of frozen attrs classes that are many: comparing, hashing and showing, written once.

attrs generates these methods for each class when it is imported. For some 200 classes of values they took a third of
the time of ``from trealtime import RealtimeRunner`` (benchmark ``imports``). Decorate a subclass with
``@attrs.frozen(eq=False, repr=False)``.
"""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["Value"]


class Value:
    """Compares, hashes and shows as attrs' own methods do: by class and by the fields that take part."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(mine == theirs for mine, theirs in zip(_compared(self), _compared(other), strict=True))

    def __hash__(self) -> int:
        return hash((type(self), _compared(self)))

    def __repr__(self) -> str:
        fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(type(self))  # type: ignore[arg-type]  # a subclass is one
        shown = (
            f"{field.name}={(field.repr if callable(field.repr) else repr)(getattr(self, field.name))}"
            for field in fields
            if field.repr
        )
        return f"{type(self).__qualname__}({', '.join(shown)})"


def _compared(value: object) -> tuple[object, ...]:
    return tuple(getattr(value, field.name) for field in attrs.fields(type(value)) if field.eq)  # type: ignore[arg-type]
