"""Loggers that end no session: what a handler, a filter or a formatter of the program raises goes to standard error.

The library logs in the tasks that carry a session. An exception out of `logging` there would end the call of a user.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

__all__ = ["Log"]


class Log:
    """The logger called `name`. Its methods are those of `logging.Logger`, and raise no Exception."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def __repr__(self) -> str:
        return f"<Log {self._logger.name}>"

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  (the name that logging has for it)
        """Whether records of `level` are taken."""
        return self._logger.isEnabledFor(level)

    def log(self, level: int, message: str, *args: object, **more: Any) -> None:
        """Log a record at `level`."""
        self._say(level, message, args, more)

    def debug(self, message: str, *args: object, **more: Any) -> None:
        """Log a record at DEBUG."""
        self._say(logging.DEBUG, message, args, more)

    def info(self, message: str, *args: object, **more: Any) -> None:
        """Log a record at INFO."""
        self._say(logging.INFO, message, args, more)

    def warning(self, message: str, *args: object, **more: Any) -> None:
        """Log a record at WARNING."""
        self._say(logging.WARNING, message, args, more)

    def error(self, message: str, *args: object, **more: Any) -> None:
        """Log a record at ERROR."""
        self._say(logging.ERROR, message, args, more)

    def exception(self, message: str, *args: object, **more: Any) -> None:
        """Log a record at ERROR, with the traceback of the exception that is being handled."""
        self._say(logging.ERROR, message, args, {"exc_info": True, **more})

    def _say(self, level: int, message: str, args: tuple[object, ...], more: dict[str, Any]) -> None:
        stacklevel = more.pop("stacklevel", 1) + 2  # the record names the code that logs
        try:
            self._logger.log(level, message, *args, stacklevel=stacklevel, **more)
        except Exception:  # noqa: BLE001  (the code of the program)
            self._tell()

    def _tell(self) -> None:
        if not logging.raiseExceptions or sys.stderr is None:  # as logging does with what it catches itself
            return
        try:
            sys.stderr.write(f"--- Logging error of {self._logger.name} ---\n{traceback.format_exc()}")
        except Exception:  # noqa: BLE001, S110  (there is nowhere left to say it)
            pass
