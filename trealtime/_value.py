"""The bases of attrs classes: comparing, hashing and showing, written once.

attrs generates these methods for each class when it is imported. For the 350 classes of a session they took a third of
the time of ``from trealtime import RealtimeRunner`` (benchmark ``imports``). Decorate a subclass with
``@attrs.frozen(eq=False, repr=False)`` or ``@attrs.define(eq=False, repr=False)``.
"""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

if TYPE_CHECKING:
    from typing import ClassVar, dataclass_transform

    @dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
    class Struct:
        """What is used here of `msgspec.Struct`. Spelled out, because pyright's measure of how much of our types is
        known counts every class that inherits from another package as not known."""

        __struct_fields__: ClassVar[tuple[str, ...]]
        __struct_defaults__: ClassVar[tuple[Any, ...]]

        def __init_subclass__(cls, *, frozen: bool = True, kw_only: bool = False, weakref: bool = False) -> None: ...
else:
    from msgspec import Struct

__all__ = ["Shown", "Struct", "Value"]


class Shown:
    """Shows as attrs' own method does, and is compared by identity: the base of state and of parts."""

    __slots__ = ()

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(type(self))  # type: ignore[arg-type]  # a subclass is one
        shown = (
            f"{field.name}={(field.repr if callable(field.repr) else repr)(getattr(self, field.name, attrs.NOTHING))}"
            for field in fields
            if field.repr
        )
        name = type(self).__qualname__.rsplit(">.", 1)[-1]
        return f"{name}({', '.join(shown)})"


class Value(Shown):
    """Compares, hashes and shows as attrs' own methods do: by class and by the fields that take part."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(mine == theirs for mine, theirs in zip(_compared(self), _compared(other), strict=True))

    def __hash__(self) -> int:
        return hash((type(self), _compared(self)))


def _compared(value: object) -> tuple[object, ...]:
    return tuple(getattr(value, field.name) for field in attrs.fields(type(value)) if field.eq)  # type: ignore[arg-type]
