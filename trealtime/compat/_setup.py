"""Functions of the SDK that set something for the whole process."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from trealtime.compat import _defaults

__all__ = ["enable_verbose_stdout_logging", "set_default_openai_key", "set_tracing_disabled"]


def set_default_openai_key(key: str, use_for_tracing: bool = True) -> None:  # noqa: FBT001, FBT002  (the SDK's)
    """Connect with `key` where the model config has none. `use_for_tracing` has no effect: no trace is made here."""
    _defaults.api_key = key


def set_tracing_disabled(disabled: bool) -> None:  # noqa: FBT001  (the SDK's)
    """Do nothing: no trace is made on this side. The service's own: ``tracing_disabled`` of the run config."""


class _Verbose(logging.StreamHandler[TextIO]):
    """The handler of `enable_verbose_stdout_logging`."""


def enable_verbose_stdout_logging() -> None:
    """Write everything that this library logs to standard output, each line once however often this is called."""
    logger = logging.getLogger("trealtime")
    logger.setLevel(logging.DEBUG)
    if not any(isinstance(each, _Verbose) for each in logger.handlers):
        logger.addHandler(_Verbose(sys.stdout))
