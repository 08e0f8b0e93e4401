"""Configurations, read as leniently as the SDK reads them.

The SDK takes from a mapping the keys that it knows, and never looks at the others. Programs therefore carry keys of
older versions, and keys that stand in the wrong mapping. Here each is left out too, with a warning in the log that says
where it stood and what is allowed there. Wrong values of known keys stay errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from trealtime._log import Log
from trealtime._session.config import RealtimeModelConfig, RealtimeRunConfig
from trealtime.errors import SettingsError, SettingsProblem
from trealtime.protocol.settings import SessionSettings
from trealtime.protocol.validation import structure

__all__ = ["known_model_config", "known_run_config", "known_settings"]

_LOGGER: Final = Log("trealtime.session")

_T = TypeVar("_T")

_BOTH: Final = frozenset({"text", "audio"})
"""The output of audio and its text, as the first version of the protocol spelt it. Today ``["audio"]`` means that."""


def known_model_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config`, a model config, without what the SDK would not look at."""
    return _known(RealtimeModelConfig, _with_settings(config, "initial_model_settings"), "model_config")


def known_run_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config`, a run config, without what the SDK would not look at."""
    return _known(RealtimeRunConfig, _with_settings(config, "model_settings"), "config")


def known_settings(settings: _T) -> _T | dict[str, Any]:
    """Return `settings` of the model without what the SDK would not look at; anything but a mapping as it is."""
    if not isinstance(settings, Mapping):
        return settings
    return _known(SessionSettings, _with_one_modality(settings, "settings"), "settings")


def _with_settings(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    settings = config.get(key)
    if not isinstance(settings, Mapping):
        return dict(config)
    return {**config, key: _with_one_modality(settings, key)}


def _with_one_modality(settings: Mapping[str, Any], place: str) -> dict[str, Any]:
    changed = dict(settings)
    for key in ("modalities", "output_modalities"):
        value = changed.get(key)
        if isinstance(value, list | tuple) and len(value) == len(_BOTH) and set(value) == _BOTH:
            _LOGGER.warning('%s.%s: ["audio"] is sent in place of %r: audio comes with its text', place, key, value)
            changed[key] = ["audio"]
    return changed


def _known(cls: type[Any], config: dict[str, Any], what: str) -> dict[str, Any]:
    try:
        structure(cls, config, what=what)
    except SettingsError as error:
        for problem in error.problems:
            if problem.unknown_key and _leave_out(config, problem):
                _LOGGER.warning("%s: left out, as the SDK does: %s", what, problem)
    return config


def _leave_out(config: dict[str, Any], problem: SettingsProblem) -> bool:
    """Remove a key from `config`, whose mappings on the way are copied; return False where it does not stand there."""
    *way, key = problem.path.split(".")
    place: dict[str, Any] = config
    for step in way:
        inner = place.get(step)
        if not isinstance(inner, Mapping):
            return False
        copied = dict(inner)
        place[step] = copied
        place = copied
    return place.pop(key, _ABSENT) is not _ABSENT


_ABSENT: Final = object()
