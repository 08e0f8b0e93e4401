"""The signature of Twilio's requests: ``X-Twilio-Signature``, on webhooks and on the handshakes of Media Streams.

The rule (Twilio's documentation, "Webhooks security"): take the URL as Twilio has it, query included; for a posted
form, append each parameter's name and value, sorted by name; the signature is the HMAC-SHA1 of that under the account's
auth token, in base64. The SHA-256 of any other body stands in the URL (``bodySHA256``). A WebSocket handshake is a GET
of a ``wss://`` URL.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final, cast
from urllib.parse import SplitResult, parse_qs, unquote

from trealtime._secrets import parsed_url, redacted_url
from trealtime.errors import WebhookRefused

__all__ = ["check_twilio_signature", "sign_twilio_request"]

Parameters = Mapping[str, str | Sequence[str]]

_DEFAULT_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_UNSIGNED_ESCAPE: Final = re.compile("%(?:40|3A|27)", re.IGNORECASE)
"""What Twilio escapes in a query only after it has signed it."""


def sign_twilio_request(url: str, *, auth_token: str, params: Parameters | None = None) -> str:
    """Return the ``X-Twilio-Signature`` that Twilio puts on a request for `url`, for tests and for a fake Twilio.

    `params` are the fields of a posted form: a mapping of names to a value or to several, or that of a web framework,
    which gives several by ``getlist`` (Werkzeug, Quart, Starlette, Django) or ``getall`` (aiohttp).
    """
    _check_text("auth_token", auth_token)
    if not auth_token:
        raise ValueError("auth_token: expected the account's auth token, got an empty string")
    text = url
    if params is not None and not hasattr(params, "keys"):
        raise TypeError(f"params: expected a mapping of names to values, got {type(params).__name__}")
    for name in sorted(set(params or ())):
        assert params is not None
        # Twilio's own libraries sort the values of a repeated name, and take each once.
        for one in sorted(set(_values(params, name))):
            text += name + one
    return base64.b64encode(hmac.new(auth_token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def check_twilio_signature(
    url: str,
    *,
    auth_token: str,
    signature: str | None,
    params: Parameters | None = None,
    body: bytes | None = None,
) -> None:
    """Return if Twilio signed this request; raise `WebhookRefused` with a reason if not.

    `url` is the public URL, as it stands in Twilio's console or in your TwiML, query included: ``https://...`` for a
    webhook, ``wss://...`` for the handshake of a stream. Behind a tunnel or a proxy your server sees another one. Give
    the port if it is not the scheme's own: Twilio signs some requests with the port and some without, and both are
    accepted. So is a query with ``@``, ``:`` and ``'`` as they are where your server sees them escaped, and a host
    with a slash behind it or none. `signature` is the header ``X-Twilio-Signature``, None if it is missing. `params`
    are the fields of a posted form (``await request.form`` with Quart; see `sign_twilio_request`). `body` is the raw
    body of a request that posted something else; the URL then carries its hash.

    Raises `ValueError` for a `url` that is none, and for an empty `auth_token`; `TypeError` for a `signature` or an
    `auth_token` that is no text, such as the bytes of an ASGI header.
    """
    if not signature:
        raise WebhookRefused("the request has no X-Twilio-Signature: it is not from Twilio", reason="missing_header")
    _check_text("signature", signature)
    if body is not None:
        _check_body(url, body)
    try:
        candidates = [sign_twilio_request(each, auth_token=auth_token, params=params) for each in _possibly_signed(url)]
        given = signature.encode()
    except UnicodeEncodeError:  # servers that decode leniently leave lone surrogates in headers and forms
        raise WebhookRefused("the request has text that is no Unicode", reason="bad_signature") from None
    # All candidates are compared, each in constant time, so that the time says nothing about how near a guess was.
    matches = [hmac.compare_digest(each.encode(), given) for each in candidates]
    if not any(matches):
        raise WebhookRefused(
            f"X-Twilio-Signature does not fit {redacted_url(url)!r}: another auth token, other parameters, or not the "
            "URL that Twilio was given",
            reason="bad_signature",
        )


def _check_text(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name}: expected a str, got {type(value).__name__}")


def _check_body(url: str, body: bytes) -> None:
    stated = parse_qs(_parts(url).query).get("bodySHA256")
    if not stated:
        raise WebhookRefused(
            "the URL has no bodySHA256, so nothing vouches for the body of this request", reason="bad_body"
        )
    if not hmac.compare_digest(stated[0].lower().encode(errors="replace"), hashlib.sha256(body).hexdigest().encode()):
        raise WebhookRefused("bodySHA256 does not fit the body of this request", reason="bad_body")


def _values(params: Parameters, name: str) -> Sequence[str]:
    for method in ("getlist", "getall"):
        if callable(several := getattr(params, method, None)):
            return cast("Sequence[str]", several(name))
    value: object = params[name]
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, Sequence) or not all(isinstance(each, str) for each in several):
        raise TypeError(f"params[{name!r}]: expected a str, or a sequence of them, got {type(value).__name__}")
    return several


def _possibly_signed(url: str) -> list[str]:
    """Return the URLs that Twilio may have signed where the server sees `url`.

    Twilio adds the scheme's port to some, and drops the port of others. It signs some characters of a query as they
    are, and escapes them when it sends the request. An URL without a path is requested with a slash. All else has to
    stay as it is: a query that is parsed and put together again is not the one that was signed.
    """
    parts = _parts(url)
    default = _DEFAULT_PORTS[parts.scheme]
    scheme, _, rest = url.partition("://")
    path = rest.removeprefix(parts.netloc)
    other = f"{parts.netloc}:{default}" if parts.port is None else parts.netloc.rpartition(":")[0]
    paths = [path]
    if not parts.path:
        paths.append("/" + path)
    elif parts.path == "/":
        paths.append(path[1:])
    if _UNSIGNED_ESCAPE.search(parts.query):
        paths += [_unescaped_query(each) for each in paths]
    return [f"{scheme}://{netloc}{each}" for each in paths for netloc in (parts.netloc, other)]


def _parts(url: str) -> SplitResult:
    parts = parsed_url(url)
    if parts is None or parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"url: expected one of http, https, ws or wss, got {redacted_url(url)!r}")
    return parts


def _unescaped_query(target: str) -> str:
    path, mark, query = target.partition("?")
    return path + mark + _UNSIGNED_ESCAPE.sub(lambda escape: unquote(escape[0]), query)
