"""What the models ask a server for: addresses, headers, keys; and what they refuse before any socket is opened."""

from __future__ import annotations

import pytest
import trio

from trealtime import __version__
from trealtime.errors import ConnectFailed, MissingApiKey, SettingsError
from trealtime.transport import (
    AzureRealtimeModel,
    ConnectionTarget,
    OpenAIRealtimeModel,
    OpenAIRealtimeSIPModel,
    OpenAIRealtimeWebSocketModel,
    RealtimeModel,
    TransportConfig,
    get_api_key,
)

KEY = "sk-test-1234567890"


@pytest.fixture(autouse=True)
def _no_organisation_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)


# ---- OpenAI: address ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target, url",
    [
        ({}, "wss://api.openai.com/v1/realtime?model=gpt-realtime-2.1"),
        ({"model_name": "gpt-realtime-2"}, "wss://api.openai.com/v1/realtime?model=gpt-realtime-2"),
        ({"model_name": "a b&c"}, "wss://api.openai.com/v1/realtime?model=a%20b%26c"),
        ({"call_id": "rtc_1/2"}, "wss://api.openai.com/v1/realtime?call_id=rtc_1%2F2"),
        ({"url": "wss://host/x?a=b%20c&d", "model_name": "m"}, "wss://host/x?a=b%20c&d"),
        ({"url": "ws://localhost:8080/v1/realtime"}, "ws://localhost:8080/v1/realtime"),
    ],
)
async def test_the_address_follows_url_then_call_id_then_model_name(target: dict[str, str], url: str) -> None:
    assert (await OpenAIRealtimeModel().handshake(ConnectionTarget(api_key=KEY, **target))).url == url


@pytest.mark.parametrize(
    "base, url",
    [
        ("https://gateway.example/v1", "wss://gateway.example/v1/realtime?model=m"),
        ("https://gateway.example/v1/", "wss://gateway.example/v1/realtime?model=m"),
        ("http://127.0.0.1:9000/v1", "ws://127.0.0.1:9000/v1/realtime?model=m"),
        ("wss://gateway.example", "wss://gateway.example/realtime?model=m"),
        ("https://gateway.example/v1?tenant=7", "wss://gateway.example/v1/realtime?tenant=7&model=m"),
    ],
)
async def test_a_base_url_gets_the_realtime_path_and_a_websocket_scheme(
    base: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = ConnectionTarget(model_name="m", api_key=KEY)
    assert (await OpenAIRealtimeModel(base_url=base).handshake(target)).url == url
    monkeypatch.setenv("OPENAI_BASE_URL", base)
    assert (await OpenAIRealtimeModel().handshake(target)).url == url
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    assert (await OpenAIRealtimeModel(base_url=base).handshake(target)).url == url


async def test_a_call_id_with_a_model_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="call_id: got 'rtc_1'"):
        await OpenAIRealtimeModel().handshake(ConnectionTarget(model_name="m", call_id="rtc_1", api_key=_never_called))


async def test_the_sip_model_needs_a_call_id() -> None:
    with pytest.raises(SettingsError, match=r"realtime\.call\.incoming"):
        await OpenAIRealtimeSIPModel().handshake(ConnectionTarget(api_key=_never_called))
    handshake = await OpenAIRealtimeSIPModel().handshake(ConnectionTarget(call_id="rtc_1", api_key=KEY))
    assert handshake.url == "wss://api.openai.com/v1/realtime?call_id=rtc_1"


# ---- OpenAI: credentials --------------------------------------------------------------------------------------------


async def test_a_key_goes_out_as_a_bearer_token_with_no_beta_header() -> None:
    handshake = await OpenAIRealtimeModel().handshake(ConnectionTarget(api_key=KEY))
    assert handshake.headers == {"Authorization": f"Bearer {KEY}", "User-Agent": f"trealtime/{__version__}"}


async def test_a_callable_key_sync_or_async_is_called_once_per_connect() -> None:
    calls: list[str] = []

    def sync_key() -> str:
        calls.append("sync")
        return KEY

    async def async_key() -> str:
        await trio.lowlevel.checkpoint()
        calls.append("async")
        return KEY

    for key in (sync_key, async_key):
        handshake = await OpenAIRealtimeModel().handshake(ConnectionTarget(api_key=key))
        assert handshake.headers["Authorization"] == f"Bearer {KEY}"
    assert calls == ["sync", "async"]


async def test_the_environment_gives_the_key_where_the_target_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    handshake = await OpenAIRealtimeModel().handshake(ConnectionTarget())
    assert handshake.headers["Authorization"] == f"Bearer {KEY}"
    handshake = await OpenAIRealtimeModel().handshake(ConnectionTarget(api_key="sk-other"))
    assert handshake.headers["Authorization"] == "Bearer sk-other"


async def test_headers_given_are_the_only_ones_and_no_key_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    for headers in ({"api-key": "abc"}, {}):
        target = ConnectionTarget(headers=headers, api_key=_never_called)
        handshake = await OpenAIRealtimeModel(project="proj").handshake(target)
        assert handshake.headers == {**headers, "User-Agent": f"trealtime/{__version__}"}
    target = ConnectionTarget(headers={"user-agent": "mine"})
    assert (await OpenAIRealtimeModel().handshake(target)).headers == {"user-agent": "mine"}


async def test_no_key_at_all_is_an_error_that_names_variable_parameter_and_emulator() -> None:
    with pytest.raises(MissingApiKey) as caught:
        async with OpenAIRealtimeModel().connect(ConnectionTarget()):
            pytest.fail("connected without a key")
    assert isinstance(caught.value, ConnectFailed)
    for words in ("OPENAI_API_KEY", "api_key", "model_config", "python -m trealtime emulate", "open_emulator()"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "key, words",
    [
        ("", "api_key is an empty string"),
        ("  ", "api_key is an empty string"),
        (b"sk-secret", "api_key is a bytes"),
        (lambda: None, "the callable given as api_key returned a NoneType"),
        (lambda: "", "the callable given as api_key returned an empty string"),
    ],
)
async def test_a_key_that_cannot_be_one_is_refused_without_being_shown(key: object, words: str) -> None:
    with pytest.raises(MissingApiKey, match=words) as caught:
        await OpenAIRealtimeModel().handshake(ConnectionTarget(api_key=key))  # type: ignore[arg-type]
    assert "sk-secret" not in str(caught.value)


async def test_what_a_key_callable_raises_comes_out_as_it_is() -> None:
    def vault() -> str:
        raise KeyError("vault is sealed")

    with pytest.raises(KeyError, match="vault is sealed"):
        await OpenAIRealtimeModel().handshake(ConnectionTarget(api_key=vault))


async def test_get_api_key_follows_string_callable_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await get_api_key(None) is None
    assert await get_api_key("k") == "k"
    assert await get_api_key(lambda: "k") == "k"
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    assert await get_api_key(None) == "from-environment"


async def test_organization_project_and_safety_identifier_travel_as_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-env")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-env")
    handshake = await OpenAIRealtimeModel(safety_identifier="u-1").handshake(ConnectionTarget(api_key=KEY))
    assert handshake.headers["OpenAI-Organization"] == "org-env"
    assert handshake.headers["OpenAI-Project"] == "proj-env"
    assert handshake.headers["OpenAI-Safety-Identifier"] == "u-1"
    model = OpenAIRealtimeModel(organization="org-1", project="proj-1")
    handshake = await model.handshake(ConnectionTarget(api_key=KEY))
    assert handshake.headers["OpenAI-Organization"] == "org-1"
    assert handshake.headers["OpenAI-Project"] == "proj-1"
    assert "OpenAI-Safety-Identifier" not in handshake.headers


async def test_a_key_is_not_sent_in_the_clear_to_another_machine_unless_written_as_a_header() -> None:
    with pytest.raises(SettingsError, match="in the clear"):
        await OpenAIRealtimeModel().handshake(ConnectionTarget(url="ws://gateway.internal/v1", api_key=_never_called))
    for host in ("127.0.0.1", "localhost", "[::1]", "emulator.localhost"):
        await OpenAIRealtimeModel().handshake(ConnectionTarget(url=f"ws://{host}:8080/v1", api_key=KEY))
    target = ConnectionTarget(url="ws://gateway.internal/v1", headers={"Authorization": "Bearer x"})
    assert (await OpenAIRealtimeModel().handshake(target)).headers["Authorization"] == "Bearer x"


async def test_a_key_with_a_line_break_inside_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError, match=r"headers\.Authorization") as caught:
        await OpenAIRealtimeModel().handshake(ConnectionTarget(api_key="sk-one\nsk-two"))
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize(
    "url, suggestion",
    [
        ("https://api.openai.com/v1/realtime?model=m&key=s3cret", "wss://api.openai.com/v1/realtime?model=m&key=..."),
        ("ftp://host/", None),
        ("wss:///path", None),
        ("wss://host:port/", None),
        ("wss://user:s3cret@host/", None),
        ("wss://host/a b", None),
        ("", None),
    ],
)
async def test_a_url_that_is_no_websocket_url_is_refused_before_any_socket(url: str, suggestion: str | None) -> None:
    with pytest.raises(SettingsError) as caught:
        async with OpenAIRealtimeModel().connect(ConnectionTarget(url=url, headers={})):
            pytest.fail("connected")
    assert caught.value.problems[0].path == "url"
    assert caught.value.problems[0].suggestion == suggestion
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [{"bad name": "x"}, {"X": "a\r\nInjected: 1"}, {"X": 1}, {"X": "漢"}, {"Host": "x"}, {"Sec-WebSocket-Key": "x"}],
)
async def test_headers_that_cannot_be_sent_are_refused_before_any_socket(headers: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=f"headers.{next(iter(headers))}") as caught:
        async with OpenAIRealtimeModel().connect(ConnectionTarget(url="ws://localhost:1/", headers=headers)):
            pytest.fail("connected")
    assert "Injected" not in str(caught.value)


def test_nothing_secret_is_in_a_repr() -> None:
    target = ConnectionTarget(
        api_key=KEY, headers={"Authorization": f"Bearer {KEY}"}, url=f"wss://me:{KEY}@host/?api-key={KEY}&model=m"
    )
    assert KEY not in repr(target)
    assert "model=m" in repr(target)
    assert "Authorization" in repr(target)
    assert KEY not in repr(AzureRealtimeModel(deployment="d", api_key=KEY))
    assert KEY not in repr(OpenAIRealtimeModel(transport_config={"proxy": f"http://me:{KEY}@proxy:1"}))


async def test_nothing_secret_is_in_the_repr_of_a_handshake() -> None:
    assert KEY not in repr(await OpenAIRealtimeModel().handshake(ConnectionTarget(api_key=KEY)))


def test_models_are_values_that_take_their_transport_config_as_a_mapping() -> None:
    model = OpenAIRealtimeModel(transport_config={"ping_interval": None})
    assert model == OpenAIRealtimeWebSocketModel(transport_config=TransportConfig(ping_interval=None))
    assert isinstance(model, RealtimeModel)
    with pytest.raises(SettingsError, match="did you mean 'max_size'"):
        OpenAIRealtimeModel(transport_config={"maxsize": 1})


# ---- Azure ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://res.openai.azure.com",
        "https://res.openai.azure.com/",
        "https://res.openai.azure.com/openai",
        "https://res.openai.azure.com/openai/v1",
        "https://res.openai.azure.com/openai/v1/",
        "wss://res.openai.azure.com/openai/v1/realtime",
    ],
)
async def test_azure_builds_the_ga_address_from_every_form_of_endpoint(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "wss://res.openai.azure.com/openai/v1/realtime?model=my-deployment"
    model = AzureRealtimeModel(deployment="my-deployment", endpoint=endpoint, api_key=KEY)
    assert (await model.handshake(ConnectionTarget(model_name="ignored"))).url == url
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", endpoint)
    assert (await AzureRealtimeModel(deployment="my-deployment", api_key=KEY).handshake(ConnectionTarget())).url == url


async def test_azure_attaches_to_a_call() -> None:
    model = AzureRealtimeModel(deployment="d", endpoint="https://r.openai.azure.com", api_key=KEY)
    url = (await model.handshake(ConnectionTarget(call_id="rtc_1"))).url
    assert url == "wss://r.openai.azure.com/openai/v1/realtime?call_id=rtc_1"


async def test_azure_sends_a_key_as_api_key_and_a_token_as_bearer(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = "https://r.openai.azure.com"
    agent = {"User-Agent": f"trealtime/{__version__}"}
    model = AzureRealtimeModel(deployment="d", endpoint=endpoint, api_key=KEY)
    assert (await model.handshake(ConnectionTarget())).headers == {"api-key": KEY, **agent}
    assert (await model.handshake(ConnectionTarget(api_key="other"))).headers == {"api-key": "other", **agent}

    async def token() -> str:
        return "entra"

    model = AzureRealtimeModel(deployment="d", endpoint=endpoint, token=token)
    assert (await model.handshake(ConnectionTarget())).headers == {"Authorization": "Bearer entra", **agent}
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "from-environment")
    model = AzureRealtimeModel(deployment="d", endpoint=endpoint)
    assert (await model.handshake(ConnectionTarget())).headers == {"api-key": "from-environment", **agent}
    assert (await model.handshake(ConnectionTarget(headers={"x": "y"}))).headers == {"x": "y", **agent}


async def test_azure_without_credentials_endpoint_or_a_single_way_in_is_refused() -> None:
    with pytest.raises(MissingApiKey, match="AZURE_OPENAI_API_KEY"):
        await AzureRealtimeModel(deployment="d", endpoint="https://r.openai.azure.com").handshake(ConnectionTarget())
    with pytest.raises(SettingsError, match="AZURE_OPENAI_ENDPOINT"):
        await AzureRealtimeModel(deployment="d", api_key=KEY).handshake(ConnectionTarget())
    with pytest.raises(SettingsError, match="either api_key or token") as caught:
        AzureRealtimeModel(deployment="d", api_key=KEY, token=lambda: KEY)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://r.openai.azure.com/openai/realtime?api-version=2024-10-01-preview&deployment=d",
        "wss://r.openai.azure.com/openai/realtime",
        "wss://r.openai.azure.com/openai/v1/realtime?model=d&api-version=2024-10-01-preview",
    ],
)
async def test_azure_refuses_the_preview_address_with_the_reason_and_the_ga_form(address: str) -> None:
    for model, target in (
        (AzureRealtimeModel(deployment="d", endpoint=address, api_key=KEY), ConnectionTarget()),
        (AzureRealtimeModel(deployment="d", api_key=KEY), ConnectionTarget(url=address)),
    ):
        with pytest.raises(SettingsError, match=r"retired.*no api-version") as caught:
            await model.handshake(target)
        assert "/openai/v1/realtime?model=DEPLOYMENT" in str(caught.value)


def _never_called() -> str:
    pytest.fail("the key callable was called")
