"""How a session ended."""

from __future__ import annotations

from typing import Literal

import attrs

from trealtime.errors import ConnectionLost
from trealtime.events import LimitUse
from trealtime.transport.wire import WireClosed

__all__ = ["CloseOutcome"]


@attrs.frozen(kw_only=True)
class CloseOutcome:
    """How a session's connection ended.

    `closed_by` is the side that ended it (``"network"``: no close frame came), `code` and `reason` are those of the
    close frame (RFC 6455 section 7.4.1), `response_cut` says that an answer was being made at that moment, `expired`
    that the session reached the longest duration that the server allows (60 minutes on OpenAI's, protocol reference 7),
    `limit` which limit of the run config it had reached.
    """

    closed_by: Literal["server", "client", "network"]
    code: int
    reason: str = ""
    response_cut: bool = False
    expired: bool = False
    limit: LimitUse | None = None

    @classmethod
    def of(
        cls, closed: WireClosed, *, response_cut: bool, expired: bool, limit: LimitUse | None = None
    ) -> CloseOutcome:
        """The outcome of a connection that ended without our asking."""
        return cls(
            closed_by=closed.closed_by,
            code=closed.code,
            reason=closed.reason,
            response_cut=response_cut,
            expired=expired or (closed.code == 1001 and "maximum duration" in closed.reason.lower()),
            limit=limit,
        )

    @property
    def clean(self) -> bool:
        """We closed it, or the server did with 1000 or 1001 while it owed no answer."""
        if self.closed_by == "server":
            return self.code in (1000, 1001) and not self.response_cut
        return self.closed_by == "client" and self.code == 1000

    def as_error(self) -> ConnectionLost:
        """A new exception that says the same, one for each place where it is raised."""
        cut = ", an answer was cut" if self.response_cut else ""
        expired = ", the session had reached its longest duration" if self.expired else ""
        why = f" ({self.reason})" if self.reason else ""
        return ConnectionLost(
            f"connection lost: ended by the {self.closed_by} with code {self.code}{why}{cut}{expired}",
            code=self.code,
            reason=self.reason,
            closed_by=self.closed_by,
            response_cut=self.response_cut,
        )
