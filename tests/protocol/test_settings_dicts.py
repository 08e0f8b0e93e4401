"""Typed dictionaries have the keys of the classes that they stand for."""

from __future__ import annotations

import attrs
import pytest

from trealtime import settings
from trealtime._session import config_dicts
from trealtime.protocol import settings as classes
from trealtime.protocol import settings_dicts

PAIRS = [
    *((getattr(settings_dicts, name), getattr(classes, name.removesuffix("Dict"))) for name in settings_dicts.__all__),
    (config_dicts.RunConfigDict, settings.RealtimeRunConfig),
    (config_dicts.ModelConfigDict, settings.RealtimeModelConfig),
    (config_dicts.GuardrailsSettingsDict, settings.GuardrailsSettings),
    (config_dicts.ToolExecutionDict, settings.ToolExecution),
    (config_dicts.SessionLimitsDict, settings.SessionLimits),
    (config_dicts.BargeInDict, settings.BargeIn),
]


@pytest.mark.parametrize("typed,cls", PAIRS, ids=[typed.__name__ for typed, _cls in PAIRS])
def test_keys_and_what_must_be_there_are_the_same(typed, cls) -> None:
    fields = attrs.fields(cls)
    assert list(typed.__annotations__) == [field.name for field in fields]
    required = {name for name, hint in typed.__annotations__.items() if "Required[" in str(hint)}
    assert required == {field.name for field in fields if field.default is attrs.NOTHING}
