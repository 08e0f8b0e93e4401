"""The bases of attrs classes: comparing, hashing and showing, written once.

attrs generates these methods for each class when it is imported. For the 350 classes of a session they took a third of
the time of ``from trealtime import RealtimeRunner`` (benchmark ``imports``). Decorate a subclass with
``@attrs.frozen(eq=False, repr=False)`` or ``@attrs.define(eq=False, repr=False)``.
"""

from __future__ import annotations

import functools
import operator
import reprlib
from collections.abc import Callable
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
        compared = _compared(type(self))  # type: ignore[arg-type]  # a class has a hash
        return all(map(operator.eq, compared(self), compared(other)))  # not the tuples: those take NaN for itself

    def __hash__(self) -> int:
        compared = _compared(type(self))  # type: ignore[arg-type]  # as above
        return hash((type(self), compared(self)))


@functools.cache
def _compared(cls: type) -> Callable[[object], tuple[Any, ...]]:
    """Return a function that gets the fields that take part, in a tenth of the time that a loop over them takes."""
    names = [field.name for field in attrs.fields(cls) if field.eq]
    if len(names) > 1:
        return operator.attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)
