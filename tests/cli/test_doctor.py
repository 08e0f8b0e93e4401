"""``trealtime doctor``: what it finds, what it advises, and what it keeps to itself."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import ssl
from typing import Any

import pytest
import trio
import trustme

from trealtime import open_emulator
from trealtime.cli import main
from trealtime.cli.doctor_checks import EXTRAS, Finding, examine
from trealtime.errors import AudioDeviceError
from trealtime.transport.models import Handshake

KEY = "sk-proj-0123456789abcdef"


async def looked(url: str | None = None, **options: Any) -> dict[str, Finding]:
    told: list[Finding] = []
    options = {"model": None, "turns": False, **options}
    with trio.fail_after(60):
        findings = await examine(url, tell=told.append, **options)
    assert told == findings
    return {each.name: each for each in findings}


async def test_the_way_to_an_emulator_is_timed_step_by_step() -> None:
    async with open_emulator() as emulator:
        found = await looked(emulator.url)
    assert {name: found[name].status for name in ("DNS", "TCP", "TLS", "handshake", "turns")} == {
        "DNS": "ok",
        "TCP": "ok",
        "TLS": "skipped",
        "handshake": "ok",
        "turns": "skipped",
    }
    assert found["handshake"].detail == "session.created, model gpt-realtime"
    assert all(found[name].took_ms is not None for name in ("DNS", "TCP", "handshake"))
    assert found["Python"].status == found["packages"].status == "ok"
    assert {f"extra {extra}" for extra in EXTRAS} <= found.keys()


async def test_turns_are_made_in_text_and_in_speech() -> None:
    async with open_emulator() as emulator:
        found = await looked(emulator.url, turns=True, model="gpt-realtime-mini")
    assert found["turn in text"].status == found["spoken turn"].status == "ok"
    assert "Hello" in found["turn in text"].detail
    assert "first audio after" in found["spoken turn"].detail
    assert "gpt-realtime-mini" in found["handshake"].detail


async def test_tls_is_a_step_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with open_emulator(ssl_context=server) as emulator:
        assert emulator.url.startswith("wss://")
        untrusted = await looked(emulator.url)
        monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
        found = await looked(emulator.url)
    assert untrusted["TLS"].status == "failed"
    assert "SSL_CERT_FILE" in (untrusted["TLS"].advice or "")
    assert "handshake" not in untrusted
    assert found["TLS"].status == found["handshake"].status == "ok"
    assert "TLSv1" in found["TLS"].detail


async def test_a_closed_port_is_the_end_of_the_way_and_says_what_to_start() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    found = await looked(f"ws://127.0.0.1:{port}/v1/realtime")
    assert found["TCP"].status == "failed"
    assert found["TCP"].advice == f"nothing listens there? Start it: trealtime emulate --port {port}"
    assert "handshake" not in found


async def test_a_refused_key_says_so_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    async with open_emulator(api_key="another") as emulator:
        found = await looked(emulator.url)
    assert found["key"].detail == "OPENAI_API_KEY is set"
    assert found["handshake"].status == "failed"
    assert "401" in found["handshake"].detail
    assert KEY not in str(found)


async def test_a_server_that_says_nothing_is_given_up(autojump_clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        async def handshake(self, target: Any) -> Handshake:
            return Handshake("ws://127.0.0.1:1/", {})

    async def wait(*_: Any, **__: Any) -> Any:
        await trio.sleep_forever()

    async def known(way: Any) -> str:
        return ""

    monkeypatch.setattr("trealtime.cli.doctor_checks.OpenAIRealtimeWebSocketModel", Silent)
    monkeypatch.setattr("trealtime.cli.doctor_checks._resolve", known)  # it would ask in a thread
    monkeypatch.setattr(trio, "open_tcp_stream", wait)
    found = await looked("ws://127.0.0.1:1/")
    assert (found["TCP"].status, found["TCP"].detail) == ("failed", "nothing within 10 s")
    assert found["TCP"].took_ms == pytest.approx(10_000, abs=1)


async def test_without_a_key_the_service_is_not_asked() -> None:
    found = await looked()
    assert found["key"].status == "note"
    assert "trealtime emulate" in (found["key"].advice or "")
    assert "DNS" not in found


async def test_a_url_that_is_none_is_a_failure() -> None:
    found = await looked("http://127.0.0.1:1/")
    assert found["URL"].status == "failed"


async def test_proxies_of_the_environment_are_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(way: Any) -> str:
        raise OSError("no such host")

    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy:1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("trealtime.cli.doctor_checks._resolve", fail)
    found = await looked("wss://service.example/v1/realtime")
    assert found["proxy"].detail == "HTTPS_PROXY is set, and not read"
    assert (found["DNS"].status, found["DNS"].detail) == ("failed", "no such host")
    assert "secret" not in str(found)


@pytest.mark.parametrize("what", [AudioDeviceError("no card"), RuntimeError("broken"), ()])
async def test_a_machine_without_sound_is_no_failure(monkeypatch: pytest.MonkeyPatch, what: Any) -> None:
    def devices() -> Any:
        if isinstance(what, Exception):
            raise what
        return what

    monkeypatch.setattr("trealtime.endpoints.audio_device.list_devices", devices)
    assert (await looked())["sound"].status == "note"


async def test_packages_that_are_missing_or_too_old_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["attrs>=23.2", "trio>=99.1", "nothing-of-that-name>=1", "mcp>=2; extra == 'mcp'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = await looked()
    assert found["trio"].advice == "pip install 'trio>=99.1'"
    assert found["nothing-of-that-name"].detail == "not installed"
    assert "attrs" in found["packages"].detail
    assert found["extra otel"].advice == "pip install 'trealtime[otel]', if you want it"


async def test_a_clone_that_is_not_installed_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    found = await looked()
    assert found["packages"].status == "note"
    assert "not installed" in found["packages"].detail


# ---- the command ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_the_exit_status_says_whether_something_failed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, as_json: bool, fails: bool
) -> None:
    finding = Finding(
        name="TCP", status="failed" if fails else "ok", detail="\x1b[2Jport", took_ms=1.4, advice="try \x1b[31m"
    )

    async def one(url: Any, *, tell: Any, **options: Any) -> list[Finding]:
        tell(finding)
        return [finding]

    monkeypatch.setattr("trealtime.cli.doctor_checks.examine", one)
    assert main(["doctor", *(["--json"] if as_json else [])]) == (1 if fails else 0)
    out = capsys.readouterr().out
    if as_json:
        report = json.loads(out)
        assert report["ok"] is not fails
        assert report["checks"][0]["took_ms"] == 1.4
    else:
        assert "\x1b" not in out
        assert "(1 ms)" in out
        assert ("1 of 1 checks failed." if fails else "Nothing failed.") in out


def test_it_runs_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
