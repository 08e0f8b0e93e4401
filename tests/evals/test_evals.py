"""Scenarios: how they are read, what they find, and the command that runs them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import trio

from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.guardrails import GuardrailFunctionOutput, input_guardrail
from trealtime.agents.handoffs import realtime_handoff
from trealtime.cli import main
from trealtime.emulator import open_emulator
from trealtime.errors import ScenarioError
from trealtime.evals import (
    Expectation,
    Mock,
    Scenario,
    ScenarioResult,
    Step,
    junit_report,
    read_scenarios,
    run_in_virtual_time,
    run_scenario,
    text_report,
)
from trealtime.tools.function_tool import function_tool

ROOT = Path(__file__).resolve().parents[2]


@function_tool
async def get_weather(city: str) -> str:
    """The weather."""
    return f"rain in {city}"


@function_tool
def slow_sum(first: int, second: int) -> int:
    """Add slowly, in a thread."""
    time.sleep(0.1)
    return first + second


@function_tool(needs_approval=True)
async def delete_order(order_id: int) -> str:
    """Delete an order."""
    return f"deleted {order_id}"


@input_guardrail
def no_secrets(context: Any, agent: Any, said: Any) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered="secret" in str(said))


billing = RealtimeAgent(name="Billing", instructions="You are Berta.", tools=[slow_sum])
agent = RealtimeAgent(
    name="Otto", instructions="You are Otto.", tools=[get_weather, slow_sum, delete_order], handoffs=[billing]
)


def scenario(*steps: Step, tools: dict[str, Mock] | None = None, **settings: Any) -> Scenario:
    return Scenario(
        name="one", agent="a:b", steps=steps, tools=tools or {}, settings=settings, file=Path("one.yaml"), line=3
    )


def run(*steps: Step, agent: RealtimeAgent[Any] = agent, **more: Any) -> ScenarioResult:
    return run_in_virtual_time(lambda: run_scenario(scenario(*steps, **more), agent))


def say(text: str, /, **expect: Any) -> Step:
    return Step(say=text, expect=Expectation(**expect))


def first_failures(result: ScenarioResult) -> list[str]:
    return [failure for step in result.steps for failure in step.failures]


# ---- what a scenario finds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step",
    [
        say("Who are you?", text="I am Otto."),
        say("Who are you?", contains=["otto", "I AM"], not_contains=["billing"], matches=r"^i am \w+\.$"),
        say("What's the weather in Rome?", called=[("get_weather", {"city": "Rome"})], contains=["rain in Rome"]),
        say("What's the weather in Rome?", called=[("get_weather", {"city": {"matches": "^r"}})]),
        say("What's the weather in Rome?", called=[("get_weather", {"city": {"contains": "OM"}})]),
        say("Hello", not_called=["get_weather"], interrupted=False, agent="Otto"),
        say("I'd like to talk to billing", handoff="Billing", agent="Billing", contains=["Berta"]),
        say("Delete order 7", approval="delete_order", contains=["deleted 7"]),
        Step(say="Delete order 7", approve=False, expect=Expectation(approval="delete_order", matches="not approved")),
        Step(say="Tell me a story", interrupt_at_s=1.0, expect=Expectation(interrupted=True)),
        Step(speak="What's the weather in Rome?", expect=Expectation(heard="in Rome", called=[("get_weather", {})])),
        Step(say="Hello", answer=["Good day."], expect=Expectation(text="Good day.")),
        Step(
            say="Hello",
            answer=[{"call": {"get_weather": {"city": "Bern"}}}, "It rains."],
            expect=Expectation(called=[("get_weather", {"city": "Bern"})], text="It rains."),
        ),
        Step(wait_s=3.0),
    ],
)
def test_what_is_as_expected_passes(step: Step) -> None:
    result = run(step)
    assert first_failures(result) == []
    assert result.error is None
    assert result.passed


@pytest.mark.parametrize(
    "step, failure",
    [
        (say("Who are you?", text="I am Ada."), "the agent said 'I am Otto.', expected 'I am Ada.'"),
        (say("Who are you?", contains=["Ada"]), "the agent said 'I am Otto.', which does not contain 'Ada'"),
        (say("Who are you?", not_contains=["otto"]), "the agent said 'I am Otto.', which contains 'otto'"),
        (say("Who are you?", matches="^Ada"), "the agent said 'I am Otto.', which does not match '^Ada'"),
        (
            say("What's the weather in Rome?", called=[("get_weather", {"city": "Bern"})]),
            'get_weather({"city": "Bern"}) was not called; calls: get_weather({"city": "Rome"})',
        ),
        (say("Hello", called=[("get_weather", {})]), "get_weather was not called; calls: none"),
        (
            say("What's the weather in Rome?", not_called=["get_weather"]),
            'get_weather was called; calls: get_weather({"city": "Rome"})',
        ),
        (say("Hello", handoff="Billing"), "there was no handoff to 'Billing'"),
        (say("Hello", agent="Billing"), "the agent in charge is 'Otto', expected 'Billing'"),
        (say("Hello", approval="delete_order"), "there was no question of approval for 'delete_order'"),
        (say("Hello", guardrail="no_secrets"), "there was no guardrail 'no_secrets'"),
        (say("Hello", interrupted=True), "the agent was not interrupted"),
        (say("Hello", error="line"), "there was no error with 'line'"),
        (
            Step(say="Tell me a story", interrupt_at_s=1.0, expect=Expectation(interrupted=False)),
            "the agent was interrupted",
        ),
        (
            Step(speak="Hello there", expect=Expectation(heard="goodbye")),
            "the user was heard saying 'Hello there', expected 'goodbye' in it",
        ),
    ],
)
def test_what_is_not_as_expected_fails_and_says_so(step: Step, failure: str) -> None:
    result = run(step, say("This step is not reached."))
    assert first_failures(result) == [failure]
    assert len(result.steps) == 1
    assert not result.passed


def test_an_answer_that_takes_too_long_fails() -> None:
    weather = say("What's the weather in Rome?")
    slow = Step(say=weather.say, within_s=2.0)
    result = run(slow, tools={"get_weather": Mock(returns="sun", after_s=60.0)})
    assert first_failures(result) == ["no complete answer within 2 s"]


def test_tools_are_mocked_and_are_themselves_again() -> None:
    before = get_weather.on_invoke_tool
    step = say("What's the weather in Rome?", contains=["The sky is sunny"])
    assert run(step, tools={"get_weather": Mock(returns={"sky": "sunny"})}).passed
    assert get_weather.on_invoke_tool is before
    assert run(say("What's the weather in Rome?", contains=["rain in Rome"])).passed


@pytest.mark.parametrize("handoff", [billing, realtime_handoff(billing)])
def test_tools_of_agents_that_take_over_are_mocked_too(handoff: Any) -> None:
    front = RealtimeAgent(name="Front", handoffs=[handoff])
    steps = (say("I'd like to talk to billing"), say("slow sum of 2 and 3", contains=["is 99"]))
    assert run(*steps, agent=front, tools={"slow_sum": Mock(returns=99)}).passed


def test_a_tool_that_fails_is_an_error_of_the_step_unless_expected() -> None:
    mocks = {"get_weather": Mock(error="the line is dead")}
    (failure,) = first_failures(run(say("What's the weather in Rome?"), tools=mocks))
    assert failure.startswith("an error: ")
    assert run(say("What's the weather in Rome?", error="LINE IS DEAD"), tools=mocks).passed


def test_mocks_of_tools_that_there_are_not_are_refused() -> None:
    with pytest.raises(ScenarioError, match=r"^one.yaml:3: tools.fly: no function tool of the agents; theirs: delete_"):
        run(say("Hello"), tools={"fly": Mock()})


def test_a_guardrail_that_stops_the_user_ends_the_step() -> None:
    guarded = RealtimeAgent(name="Otto", input_guardrails=[no_secrets])
    assert run(say("my secret", guardrail="no_secrets"), agent=guarded).passed


def test_a_session_that_cannot_open_is_an_error_of_the_scenario(caplog: pytest.LogCaptureFixture) -> None:
    result = run(say("Hello"), voice=7)
    assert (result.passed, result.steps) == (False, [])
    assert "voice" in (result.error or "")
    assert not [each for each in caplog.records if each.name == "trealtime.evals"]


def test_a_failure_of_the_agents_own_code_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def instructions(context: Any, agent: Any) -> str:
        raise KeyError("table")

    result = run(say("Hello"), agent=RealtimeAgent(name="Otto", instructions=instructions))
    assert result.error == "KeyError: 'table'"
    [record] = [each for each in caplog.records if each.name == "trealtime.evals"]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


async def test_a_scenario_runs_on_a_server_too() -> None:
    async with open_emulator(seed=1) as emulator:
        connection = {"url": emulator.url, "api_key": "any"}
        with trio.fail_after(30):
            result = await run_scenario(
                scenario(say("Who are you?", text="I am Otto.")), agent, model_config=connection
            )
        assert result.passed
        assert emulator.statistics().sessions_opened == 1


# ---- virtual time ---------------------------------------------------------------------------------------------------


def test_virtual_time_waits_for_threads_and_for_nothing_else() -> None:
    began = time.monotonic()
    assert run(say("slow sum of 2 and 3", contains=["is 5"]), Step(wait_s=3_000.0)).passed
    assert time.monotonic() - began < 10


def test_an_exception_comes_out_of_virtual_time_as_it_is() -> None:
    async def fail() -> None:
        await trio.sleep(5)
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_in_virtual_time(fail)


# ---- files ----------------------------------------------------------------------------------------------------------

FILE = """\
agent: shop:agent
within: 4
tools:
  get_weather: {sky: sunny}
  slow_sum: {returns: 5, after: 1.5}
scenarios:
  - name: first
    settings: {voice: cedar}
    tools: {get_weather: rain}
    steps:
      - say: Hello
        within: 2
        interrupt at: 1.5
        approve: no
        answer: [Hi, {call: {get_weather: {city: Rome}}}]
        expect:
          contains: one
          not contains: [two, three]
          called: {get_weather: {city: Rome}, slow_sum: }
          not called: delete_order
          interrupted: true
      - speak: Good day
      - wait: 3
  - name: second
    agent: other:agent
    steps: [{say: Hello}]
"""


def test_a_file_is_read_with_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FILE, encoding="utf-8")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "b.yml").write_text("agent: x:y\nsteps: [{say: Hi}]\n", encoding="utf-8")
    first, second, third = read_scenarios([tmp_path])
    assert (first.name, first.agent, first.settings, first.line) == ("first", "shop:agent", {"voice": "cedar"}, 7)
    assert first.tools == {"get_weather": Mock(returns="rain"), "slow_sum": Mock(returns=5, after_s=1.5)}
    assert first.steps == [
        Step(
            say="Hello",
            within_s=2,
            interrupt_at_s=1.5,
            approve=False,
            answer=("Hi", {"call": {"get_weather": {"city": "Rome"}}}),
            expect=Expectation(
                contains=["one"],
                not_contains=["two", "three"],
                called=[("get_weather", {"city": "Rome"}), ("slow_sum", {})],
                not_called=["delete_order"],
                interrupted=True,
            ),
            line=11,
        ),
        Step(speak="Good day", within_s=4, line=22),
        Step(wait_s=3, within_s=4, line=23),
    ]
    assert (second.agent, second.tools["get_weather"]) == ("other:agent", Mock(returns={"sky": "sunny"}))
    assert (third.name, third.agent) == ("b", "x:y")


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "1: the file is empty"),
        ("a: [", "1: not YAML: expected the node content"),
        ("- 1", "1: got [1], allowed: a mapping with scenarios"),
        ("steps: [{say: Hi}]", "1: there is no agent"),
        ("agent: shop\nsteps: [{say: Hi}]", "1: agent: got 'shop', allowed: module:attribute"),
        ("agent: a:b\nsteps: []", "1: there are no steps"),
        ("agent: a:b\nsteps:\n- say: Hi\n  expct: {}", "4: steps.0.expct: is no key here;"),
        ("agent: a:b\nsteps:\n- expect: {}", "3: steps.0: a step has one of say, speak and wait; this one has none"),
        (
            "agent: a:b\nsteps:\n- say: Hi\n  speak: Hi",
            "3: steps.0: a step has one of say, speak and wait; this one has say and",
        ),
        ("agent: a:b\nsteps:\n- say: no", "3: steps.0.say: got False, allowed: a text (in quotes"),
        (
            "agent: a:b\nsteps:\n- say: Hi\n  within: soon",
            "4: steps.0.within: got 'soon', allowed: a number of seconds",
        ),
        (
            "agent: a:b\nsteps:\n- say: Hi\n  expect: {matches: '('}",
            "4: steps.0.expect.matches: got '(', allowed: a regular",
        ),
        ("agent: a:b\nsteps:\n- say: Hi\n  expect: {called: 3}", "4: steps.0.expect.called: got 3, allowed: the name"),
        ("agent: a:b\nsteps:\n- say: Hi\n  expect: hello", "4: steps.0.expect: got 'hello', allowed: a mapping"),
        ("agent: a:b\nsteps:\n- say: Hi\n  answer: 3", "4: steps.0.answer: got 3, allowed: a text, or a call"),
        ("agent: a:b\nagent: c:d\nsteps: [{say: Hi}]", "2: agent: stands here twice"),
        ("agent: a:b\n# \x07", "2: not YAML: unacceptable character #x0007"),
        ("agent: a:b\n? [say, speak]\n: Hi", "2: got the key ['say', 'speak'], allowed: a text"),
        ("agent: a:b\nsteps: &steps\n- say: Hi\n- *steps", "1: not YAML: nested too deeply, or an anchor"),
        (
            "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]\n" for n in range(12)),
            "1: more than 100,000 values",
        ),
        (
            "a0: &a0 {x: 1}\n"
            + "".join(f"a{n + 1}: &a{n + 1} {{<<: [{', '.join([f'*a{n}'] * 9)}]}}\n" for n in range(12)),
            "1: more than 100,000 values",
        ),
        ("agent: a:b\nsteps:\n- say: 2026-02-31", "3: steps.0.say: got 2026-02-31, which is no timestamp: day"),
        ("agent: a:b\nscenarios: [3]", "2: scenarios.0: got 3, allowed: a mapping"),
        ("agent: a:b\nscenarios: [{steps: [{say: 1}]}]", "2: scenarios.0.steps.0.say: got 1"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        read_scenarios([path])
    assert any(each.startswith(f"{path}:{problem}") for each in caught.value.problems), caught.value


def test_all_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("steps:\n- say: 1\n- sing: la\n", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScenarioError) as caught:
        read_scenarios([tmp_path, tmp_path / "none.yaml", tmp_path / "empty"])
    assert len(caught.value.problems) >= 8
    assert "did you mean" not in str(caught.value)


# ---- reports --------------------------------------------------------------------------------------------------------


def test_a_failure_is_reported_with_the_conversation_and_its_line() -> None:
    step = Step(say="What's the weather in Rome?", expect=Expectation(text="sun"), line=12)
    lines = text_report(run(step)).splitlines()
    assert lines[0].startswith("FAIL one.yaml: one (")
    assert lines[1:] == [
        "       user: What's the weather in Rome?",
        '       tool: get_weather({"city": "Rome"})',
        "       agent: Rain in Rome.",
        "  one.yaml:12: the agent said 'Rain in Rome.', expected 'sun'",
    ]


def test_junit_has_a_suite_for_each_file_and_a_case_for_each_scenario() -> None:
    results = [run(say("Hello")), run(say("Hello", text="<no> \x07&")), run(say("Hello"), voice=7)]
    root = ET.fromstring(junit_report(results))
    (suite,) = root
    assert (suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("errors")) == (
        "one.yaml",
        "3",
        "1",
        "1",
    )
    passed, failed, broken = suite
    assert (len(passed), failed[0].tag, broken[0].tag) == (0, "failure", "error")
    assert "<no>" in (failed[0].get("message") or "")


# ---- the command ----------------------------------------------------------------------------------------------------

SHOP = """
from trealtime import RealtimeAgent
agent = RealtimeAgent(name="Shop", instructions="You are a shop.")
number = 3
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "eval_shop.py").write_text(SHOP, encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "eval_shop", raising=False)
    return tmp_path


def written(folder: Path, *, expected: str = "I am a shop.", agent: str = "eval_shop:agent") -> Path:
    text = f"agent: {agent}\nname: who\nsteps:\n- say: Who are you?\n  expect: {{text: {expected}}}\n"
    (folder / "shop.yaml").write_text(text, encoding="utf-8")
    return folder


def test_the_command_passes_and_writes_junit(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junit = shop / "junit.xml"
    assert main(["eval", str(written(shop)), "--junit", str(junit), "-v"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("ok  ")
    assert out[1:] == ["       user: Who are you?", "       agent: I am a shop.", "1 scenario(s), 0 failed"]
    assert ET.parse(junit).getroot()[0].get("tests") == "1"


def test_the_command_fails_with_1_where_a_scenario_does(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shop / "drawn"
    assert main(["eval", str(written(shop, expected="I am Ada.")), "--timelines", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "shop.yaml:4: the agent said 'I am a shop.', expected 'I am Ada.'" in out
    (page,) = folder.iterdir()
    assert f"timeline: {page}" in out
    assert "I am a shop." in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "change, arguments, problem",
    [
        ({"agent": "no_such_module:agent"}, [], "there is no module 'no_such_module'"),
        ({"agent": "eval_shop:number"}, [], "eval_shop:number is a int, not a RealtimeAgent"),
        ({"agent": "shop"}, [], "shop.yaml:1: agent: got 'shop'"),
        ({}, ["-k", "nobody"], "no scenario has 'nobody' in its name"),
        ({}, ["no/such/folder"], "no/such/folder: no such file or folder"),
    ],
)
def test_the_command_refuses_with_2_what_it_cannot_run(
    change: Any, arguments: list[str], problem: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(written(shop, **change)), *arguments]) == 2
    assert problem in capsys.readouterr().err


def test_the_command_runs_on_a_server_where_there_is_a_url(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(written(shop)), "--url", "ws://127.0.0.1:9/v1/realtime"]) == 1
    assert "ConnectFailed" in capsys.readouterr().out


def test_without_pyyaml_the_extra_is_named(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert main(["eval", str(written(shop))]) == 2
    assert 'pip install "trealtime[eval]"' in capsys.readouterr().err


# ---- the example ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["-m", "trealtime", "eval"], ["-m", "pytest", "-q", "-p", "no:cacheprovider"]])
def test_the_suite_of_the_example_passes(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command, "examples/testing_your_agent"], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
