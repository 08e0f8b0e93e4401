"""Webhooks of the service: check the sender, drop repetitions, and read the call.

The signature is that of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over id, timestamp and the
body as it came, under a secret that only the service and you have.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeGuard

import attrs

from trealtime.errors import SettingsError, SettingsProblem, WebhookProblem, WebhookRefused

__all__ = ["IncomingCall", "OtherWebhook", "RealtimeWebhooks", "SipHeader", "webhook_signature"]

_PREFIX: Final = "whsec_"
_INCOMING_CALL: Final = "realtime.call.incoming"
_UNIX_SECONDS: Final = re.compile(r"[0-9]{1,15}")
_SIGNATURE: Final = re.compile(r"(?:^|[\s,])v1,([^\s,]+)")
"""The standard parts signatures by spaces; a header that came as several lines is joined by commas (RFC 9110, 5.3)."""


@attrs.frozen
class SipHeader:
    """A header of the caller's INVITE. The caller wrote it: do not trust it."""

    name: str
    value: str


@attrs.frozen(kw_only=True)
class IncomingCall:
    """A phone call that rings (``realtime.call.incoming``): accept or reject it by its `call_id`.

    `webhook_id` names the delivery, the same for each repetition; `event_id` the event. `created_at_unix_s` is in whole
    seconds. `sip_media_security` says how the caller's audio travels: ``"rtp"``, ``"srtp"``, or a newer word; None
    where the service does not say.
    """

    call_id: str
    sip_headers: tuple[SipHeader, ...] = ()
    event_id: str = ""
    webhook_id: str = ""
    created_at_unix_s: int | None = None
    sip_media_security: str | None = None

    def sip_header(self, name: str) -> str | None:
        """Return the value of the first header of that name, in any case; None if there is none."""
        return next((header.value for header in self.sip_headers if header.name.lower() == name.lower()), None)


@attrs.frozen(kw_only=True)
class OtherWebhook:
    """A webhook of any other `type`; `data` is its ``data`` object as it came."""

    type: str
    data: Mapping[str, Any] = attrs.field(factory=dict)
    event_id: str = ""
    webhook_id: str = ""


class RealtimeWebhooks:
    """Checks webhooks and reads them, each delivery once.

    It remembers the id of every delivery that could be replayed (its timestamp is within `tolerance_s`), and of others
    the last `remembered`, which the service may send again under a new timestamp.

    `secret` is what the service showed when the webhook was made (``whsec_...``; default: OPENAI_WEBHOOK_SECRET), or a
    sequence of several, any of which may have signed: the old one and the new one while you change it.
    A timestamp may be off by `tolerance_s` either way; `now` is the wall clock, in Unix seconds.
    Raises `SettingsError`.
    """

    def __init__(
        self,
        secret: str | Sequence[str] | None = None,
        *,
        tolerance_s: float = 300.0,
        remembered: int = 4096,
        now: Callable[[], float] = time.time,
    ) -> None:
        found = os.environ.get("OPENAI_WEBHOOK_SECRET", "") if secret is None else secret
        secrets: tuple[Any, ...] = tuple(found) if _are_several(found) else (found,)
        problems = [problem for each in secrets if (problem := _secret_problem(each)) is not None]
        if not secrets:
            problems.append(_NO_SECRET)
        if not _at_least(0, tolerance_s):
            problems.append(SettingsProblem("tolerance_s", tolerance_s, "seconds, not negative"))
        if not _at_least(1, remembered):
            problems.append(SettingsProblem("remembered", remembered, "at least 1"))
        if problems:
            raise SettingsError(problems, what="webhooks")
        self._secrets = secrets
        self._tolerance_s = tolerance_s
        self._remembered = remembered
        self._now = now
        self._seen: dict[str, int] = {}  # id to the newest timestamp, in the order of arrival

    def receive(self, headers: Mapping[str, str], body: bytes) -> IncomingCall | OtherWebhook | None:
        """Read a request to your webhook URL; return None for a delivery that has been received before.

        `headers` by name, in any case; `body` as it came, byte for byte. Answer it with 2xx, also when this is None,
        and within seconds: the service sends it again otherwise, for up to 72 hours. Raises `WebhookRefused` with its
        reason; answer that with 400. Raises `TypeError` for a body that has been decoded, and for headers of another
        shape.
        """
        if not isinstance(body, bytes | bytearray | memoryview):
            raise TypeError(f"body must be the request's bytes as they came, got {type(body).__name__}")
        lowered = _lowered(headers)
        webhook_id, timestamp, signatures = (_header(lowered, name) for name in ("id", "timestamp", "signature"))
        sent_at_s = self._checked_time(timestamp)
        expected = [webhook_signature(each, webhook_id, timestamp, bytes(body)) for each in self._secrets]
        # Several: the service signs with the old secret and the new one while it is being changed.
        given = [f"v1,{each}" for each in _SIGNATURE.findall(signatures)]
        if not any(hmac.compare_digest(one.encode(), other.encode()) for one in given for other in expected):
            raise _refused("bad_signature", "no signature in webhook-signature is that of this body under our secret")
        event = _read(webhook_id, bytes(body))
        known = self._seen.pop(webhook_id, None)
        # Sent again it is signed anew, and this request can be replayed for longer than the one before.
        self._seen[webhook_id] = sent_at_s if known is None else max(known, sent_at_s)
        self._forget_old()
        return event if known is None else None

    def forget(self, event: IncomingCall | OtherWebhook) -> None:
        """Take the next delivery of `event` for new: for a handler that failed and answers 5xx, to be asked again."""
        self._seen.pop(event.webhook_id, None)

    def _forget_old(self) -> None:
        oldest_replayable_s = self._now() - self._tolerance_s
        while len(self._seen) > self._remembered:
            webhook_id, sent_at_s = next(iter(self._seen.items()))
            if sent_at_s >= oldest_replayable_s:
                return
            del self._seen[webhook_id]

    def _checked_time(self, timestamp: str) -> int:
        if not _UNIX_SECONDS.fullmatch(timestamp):
            raise _refused("bad_timestamp", f"webhook-timestamp is not in whole seconds: {timestamp[:40]!r}")
        age_s = self._now() - int(timestamp)
        if age_s > self._tolerance_s:
            raise _refused("too_old", f"the webhook is {age_s:.0f} s old, at most {self._tolerance_s:g} s are allowed")
        if age_s < -self._tolerance_s:
            raise _refused("too_new", f"the webhook is from {-age_s:.0f} s in the future: is the clock right?")
        return int(timestamp)


def webhook_signature(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    """Return the ``v1,...`` signature of a delivery, as the service makes it. For tests and senders of webhooks."""
    key = _key(secret)
    if key is None:
        raise SettingsError([SettingsProblem("secret", secret, "whsec_ and base64")], what="webhooks")
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


_NO_SECRET: Final = SettingsProblem(
    "secret", None, "the webhook's secret, or the environment variable OPENAI_WEBHOOK_SECRET"
)


def _are_several(value: object) -> TypeGuard[Sequence[str]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _at_least(least: int, value: object) -> bool:
    return isinstance(value, int | float) and value >= least


def _secret_problem(secret: object) -> SettingsProblem | None:
    if not isinstance(secret, str):
        return SettingsProblem("secret", secret, "text: whsec_ and base64; or a sequence of such texts")
    if not secret.strip():
        return _NO_SECRET
    return SettingsProblem("secret", secret, "whsec_ and base64") if _key(secret) is None else None


def _key(secret: str) -> bytes | None:
    """Return the signing key: base64 after ``whsec_``, else the text itself. None where it cannot be read."""
    secret = secret.strip()
    try:
        if not secret.startswith(_PREFIX):
            return secret.encode()
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the webhook's headers by lower-case name, each with all its values. Servers hand headers over as pairs or
    as bytes too, which would be missed."""
    allowed = "headers must be a mapping of names to text, such as request.headers"
    if not hasattr(headers, "items"):
        raise TypeError(f"{allowed}, got {type(headers).__name__}")
    found: dict[str, dict[str, None]] = {}
    pairs: list[tuple[Any, Any]] = list(headers.items())  # what a server hands over may be of other types
    for name, value in pairs:
        ours = isinstance(name, str) and name.lower().startswith("webhook-")
        if not isinstance(name, str) or (ours and not isinstance(value, str)):
            raise TypeError(f"{allowed}, got {type(name).__name__} to {type(value).__name__}")
        if ours:  # a header that is there several times has several values; the same one twice is one
            found.setdefault(name.lower(), {})[value] = None
    return {name: ", ".join(values) for name, values in found.items()}


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(f"webhook-{name}", "").strip()
    if not value:
        raise _refused("missing_header", f"the header webhook-{name} is missing: this is no signed webhook")
    if not _is_unicode(value):
        raise _refused("bad_signature", f"the header webhook-{name} is no text")
    return value


def _is_unicode(text: str) -> bool:
    # Web servers that decode headers leniently leave lone surrogates in them, and JSON may escape some.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(webhook_id: str, body: bytes) -> IncomingCall | OtherWebhook:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _refused("bad_body", f"the body is not JSON: {error}") from None
    kind, data = (event.get("type"), event.get("data")) if isinstance(event, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise _refused("bad_body", "the body is no event: it needs a type and a data object")
    event_id = _readable(event["id"]) if isinstance(event.get("id"), str) else ""
    if kind != _INCOMING_CALL:
        return OtherWebhook(type=_readable(kind), data=data, event_id=event_id, webhook_id=webhook_id)
    call_id = data.get("call_id")
    if not isinstance(call_id, str) or not call_id or not _is_unicode(call_id):
        raise _refused("bad_body", "the event has no call_id")
    created_at, security = event.get("created_at"), data.get("sip_media_security")
    return IncomingCall(
        call_id=call_id,
        sip_headers=tuple(_sip_headers(data.get("sip_headers"))),
        event_id=event_id,
        webhook_id=webhook_id,
        created_at_unix_s=created_at if type(created_at) is int else None,  # a bool is no time
        sip_media_security=_readable(security) if isinstance(security, str) else None,
    )


def _sip_headers(value: object) -> list[SipHeader]:
    """Return the headers that can be read: a caller may send anything."""
    found = value if isinstance(value, list) else []
    pairs = [(each.get("name"), each.get("value")) for each in found if isinstance(each, dict)]
    return [
        SipHeader(_readable(name), _readable(value))
        for name, value in pairs
        if isinstance(name, str) and isinstance(value, str)
    ]


def _readable(text: str) -> str:
    """Return `text` with a question mark for each lone surrogate, which could be neither printed nor sent on."""
    return text.encode(errors="replace").decode()


def _refused(reason: WebhookProblem, message: str) -> WebhookRefused:
    return WebhookRefused(message, reason=reason)
