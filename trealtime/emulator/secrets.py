"""Client secrets: keys that open sessions with settings of their own, for a while (protocol reference 1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import attrs

from trealtime.emulator.fields import choice, integer, mapping, record
from trealtime.emulator.ids import Ids
from trealtime.emulator.refusals import invalid_type
from trealtime.emulator.settings import SessionSettings, SessionType, merge

__all__ = ["ClientSecrets", "Secret", "initial_settings"]

_MOST: Final = 1_000
_DEFAULT_S: Final = 600
_BODY = record(
    {
        "expires_after": record({"anchor": choice("created_at"), "seconds": integer(10, 7_200)}),
        "session": mapping(),
    }
)


@attrs.frozen(kw_only=True)
class Secret:
    """A client secret that was minted; `settings` None: the client says which session it wants."""

    value: str = attrs.field(repr=False)
    expires_at: float
    settings: SessionSettings | None
    expired: bool = False


class ClientSecrets:
    """The secrets of an emulator, the latest 1000 of them. `now` gives Unix seconds."""

    def __init__(self, ids: Ids, *, default_model: str, now: Callable[[], float]) -> None:
        self._ids = ids
        self._default_model = default_model
        self._now = now
        self._minted: dict[str, Secret] = {}

    def mint(self, body: object) -> dict[str, Any]:
        """The answer to ``POST /realtime/client_secrets``; raises `Refusal`."""
        if not isinstance(body, dict):
            raise invalid_type("", body, "an object")
        asked = _BODY(body, "")
        seconds = asked.get("expires_after", {}).get("seconds", _DEFAULT_S)
        wanted = asked.get("session")
        settings = None if wanted is None else initial_settings(wanted, default_model=self._default_model)
        expires_at = math.floor(self._now()) + seconds
        secret = Secret(value=self._ids.new("ek"), expires_at=expires_at, settings=settings)
        self._minted[secret.value] = secret
        if len(self._minted) > _MOST:
            del self._minted[next(iter(self._minted))]
        shown = settings or SessionSettings.default("realtime", model=self._default_model)
        kind = "realtime.session" if shown.type == "realtime" else "realtime.transcription_session"
        session = {"type": shown.type, "object": kind, "id": self._ids.new("sess"), "expires_at": 0, **shown.data}
        return {"value": secret.value, "expires_at": expires_at, "session": session}

    def find(self, key: str) -> Secret | None:
        """The secret of that value, expired or not; None for any other key."""
        secret = self._minted.get(key)
        return None if secret is None else attrs.evolve(secret, expired=self._now() >= secret.expires_at)


def initial_settings(session: object, *, default_model: str) -> SessionSettings:
    """The settings of a session that is to begin with the wire object `session`; raises `Refusal`."""
    kind = session.get("type") if isinstance(session, dict) else None
    base: SessionType = "transcription" if kind == "transcription" else "realtime"
    default = SessionSettings.default(base, model=default_model)
    return merge(default, session, voice_locked=False, model_fixed=False)
