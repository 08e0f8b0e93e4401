"""The code in README.md and docs/ runs, against an emulator. How to write a block: CONTRIBUTING.md."""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import importlib.util
import inspect
import io
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK_TIMEOUT_S = 30
SPEED = 4.0
"""How much faster than ours the clock of the pages and of their emulator goes: nobody listens to what is said."""
REAL_RUN = trio.run

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^`\n]*)$")
NOT_RUN = re.compile(r"^<!-- not run: *(?P<reason>.*?) *-->$")
PYTHON = frozenset({"python", "{code-block} python"})
DISGUISED = frozenset({"py", "python3", "pycon", "{code-block} pycon", "{code-block} python3", "{code} python"})


@attrs.frozen
class Block:
    page: Path
    line: int
    source: str
    info: str
    not_run: str | None = None
    """The reason why it is not run."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path, text: str | None = None) -> list[Block]:
    """Every fenced block of a page; a fence inside a longer fence is text of the longer one."""
    lines = (page.read_text(encoding="utf-8") if text is None else text).splitlines()
    found: list[Block] = []
    remark = ""
    number = 0
    while number < len(lines):
        opening = FENCE.match(lines[number])
        if opening is None:
            remark = lines[number].strip() or remark
            number += 1
            continue
        closing = re.compile(rf"^ *{opening['ticks']}`* *$")
        end = next((at for at in range(number + 1, len(lines)) if closing.match(lines[at])), len(lines))
        indent = len(opening["indent"])
        source = "\n".join(line[indent:] for line in lines[number + 1 : end]) + "\n"
        excuse = NOT_RUN.match(remark)
        found.append(Block(page, number + 2, source, opening["info"].strip(), excuse["reason"] if excuse else None))
        remark = ""
        number = end + 1
    return found


def python_blocks(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.info in PYTHON]


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix().removeprefix("docs/")


# ---- running --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def emulator_in_a_thread() -> Iterator[str]:
    """The base URL of a fresh emulator. In a thread of its own, because a block may call `trio.run` itself."""
    from trealtime.emulator import open_emulator

    url = ""
    scope = trio.CancelScope()
    token: trio.lowlevel.TrioToken | None = None
    ready = threading.Event()
    failure: list[Exception] = []

    async def serve() -> None:
        nonlocal url, token
        with scope:
            async with open_emulator() as emulator:
                url, token = emulator.url.removesuffix("/realtime"), trio.lowlevel.current_trio_token()
                ready.set()
                await trio.sleep_forever()

    def run() -> None:
        try:
            REAL_RUN(serve, clock=MockClock(rate=SPEED))
        except Exception as error:  # noqa: BLE001  (raised in the thread of the test)
            failure.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="emulator")
    thread.start()
    ready.wait()
    try:
        if not failure:
            yield url
    finally:
        if token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(scope.cancel)
        thread.join()
    if failure:
        raise failure[0]


def compile_block(block: Block) -> CodeType:
    # Line numbers of the page, so that a traceback points into the document.
    source = "\n" * (block.line - 1) + block.source
    code: CodeType = compile(source, str(block.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return code


def names_taken_from_outside(source: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(source)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    made = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    made |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    return {node.id for node in names} - made


def provide_declarations(wanted: set[str], namespace: dict[str, Any]) -> None:
    """An agent and its runner, for a block that uses them where nobody made them."""
    from trealtime import RealtimeAgent, RealtimeRunner

    if wanted & {"agent", "runner", "session"}:
        namespace.setdefault("agent", RealtimeAgent(name="Assistant", instructions="Be brief."))
        namespace.setdefault("runner", RealtimeRunner(namespace["agent"]))


@contextlib.asynccontextmanager
async def provided(wanted: set[str], namespace: dict[str, Any]) -> AsyncIterator[None]:
    """An open session and a nursery, for the time of one block."""
    async with contextlib.AsyncExitStack() as stack:
        if "nursery" in wanted:
            namespace["nursery"] = nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(nursery.cancel_scope.cancel)
        if "session" in wanted:
            namespace["session"] = await stack.enter_async_context(namespace["runner"].session())
        try:
            yield
        finally:
            for name in {"nursery", "session"} & wanted:
                del namespace[name]


def bounded_run(async_fn: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
    """`trio.run`, ended after `BLOCK_TIMEOUT_S` of real time (a block with a clock of its own keeps its own time)."""

    async def bounded() -> Any:
        with trio.fail_after(BLOCK_TIMEOUT_S * SPEED):
            return await async_fn(*args)

    if options.get("clock"):
        return REAL_RUN(async_fn, *args, **options)
    return REAL_RUN(bounded, **{**options, "clock": MockClock(rate=SPEED)})


def run_block(block: Block, namespace: dict[str, Any]) -> None:
    code = compile_block(block)
    wanted = names_taken_from_outside(block.source) - namespace.keys()
    provide_declarations(wanted, namespace)
    namespace.pop("main", None)
    if code.co_flags & inspect.CO_COROUTINE or wanted & {"nursery", "session"}:

        async def with_what_it_needs() -> None:
            async with provided(wanted, namespace):
                coroutine = eval(code, namespace)  # None for a block without an await of its own
                if coroutine is not None:
                    await coroutine

        bounded_run(with_what_it_needs)
    else:
        exec(code, namespace)
        if "main" in namespace and not re.search(r"^\s*trio\.run\(main\b", block.source, re.MULTILINE):
            bounded_run(namespace["main"])


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=page_id)
def test_the_code_of_a_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trio, "run", bounded_run)
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins, "trio": trio}
    with emulator_in_a_thread() as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "emulator")
        for block in python_blocks(page):
            if block.not_run is None:
                try:
                    with contextlib.redirect_stdout(io.StringIO()) as printed:
                        run_block(block, namespace)
                    if (shown := shown_output(block)) is not None:
                        assert without_figures(printed.getvalue()) == without_figures(shown)
                except BaseException as error:
                    error.add_note(f"in the block at {block}")
                    raise


def shown_output(program: Block) -> str | None:
    """The output of a program as its page shows it, in a text block right behind the program."""
    end = program.line + program.source.count("\n")
    behind = [each for each in blocks_of(program.page) if each.info == "text" and 0 < each.line - end <= 3]
    return behind[0].source if behind else None


def without_figures(text: str) -> list[str]:
    """The lines of an output without times and ids, which are others in each run."""
    return re.sub(r"\b(resp|session)_[\w.]+|\d+(\.\d+)?", "#", text).strip().splitlines()


# ---- what may not be run, and why -----------------------------------------------------------------------------------


def test_no_page_hides_python_from_this_test() -> None:
    hidden = [str(block) for page in PAGES for block in blocks_of(page) if block.info in DISGUISED]
    assert hidden == [], "use a plain ```python block"


def test_blocks_that_are_not_run_give_a_reason_and_are_few() -> None:
    blocks = [block for page in PAGES for block in python_blocks(page)]
    exempt = [block for block in blocks if block.not_run is not None]
    assert [str(block) for block in exempt if not block.not_run] == [], "a reason is missing"
    assert len(exempt) <= len(blocks) / 5, f"not run: {[f'{block}: {block.not_run}' for block in exempt]}"


def test_blocks_that_are_not_run_are_still_python() -> None:
    for page in PAGES:
        for block in python_blocks(page):
            compile_block(block)


def test_fences_inside_a_longer_fence_are_not_blocks() -> None:
    page = "````markdown\n```python\nraise\n```\n````\n<!-- not run: because -->\n\n```python\nx\n```\n"
    outer, inner = blocks_of(ROOT / "README.md", page)
    assert (outer.info, outer.not_run) == ("markdown", None)
    assert (inner.info, inner.source, inner.line, inner.not_run) == ("python", "x\n", 9, "because")


@pytest.mark.parametrize(
    "source, names",
    [
        ("await session.ask('x')", {"session"}),
        ("async with f() as session: session", {"f"}),
        ("def f(agent): agent", set()),
    ],
)
def test_names_that_a_block_does_not_make_are_found(source, names) -> None:
    assert names_taken_from_outside(source) == names


# ---- what the pages must not forget ---------------------------------------------------------------------------------


def page_text(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def code_words(text: str) -> set[str]:
    """What stands in backticks, outside of fenced blocks."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)))


def table_rows(text: str) -> list[list[str]]:
    """The rows of all tables, without their headings."""
    lines = text.splitlines()
    headings = {number - 1 for number, line in enumerate(lines) if line.startswith("|--")}
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for number, line in enumerate(lines)
        if line.startswith("|") and not line.startswith("|--") and number not in headings
    ]


def settings_classes() -> list[type[Any]]:
    from trealtime import settings

    shown = [getattr(settings, name) for name in settings.__all__]
    elsewhere = {"MCPConfig", "MCPServerStdioParams", "MCPServerStreamableHttpParams", "EmulatorLimits"}
    elsewhere |= {"BargeIn", "ResponseOptions"}
    return [kind for kind in shown if attrs.has(kind) and kind.__name__ not in elsewhere]


@pytest.mark.parametrize("settings_class", settings_classes(), ids=lambda kind: kind.__name__)
def test_every_setting_is_on_the_settings_page(settings_class: type[Any]) -> None:
    words = set(re.findall(r"\w+", " ".join(code_words(page_text("reference/settings.md")))))
    assert {field.name for field in attrs.fields(settings_class)} - words == set()


def section(text: str, heading: str) -> str:
    return re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]


@pytest.mark.parametrize(
    "heading, name", [("Run config", "RealtimeRunConfig"), ("Transport config", "TransportConfig")]
)
def test_the_settings_page_tells_the_defaults_of_the_code(heading: str, name: str) -> None:
    from trealtime import settings

    fields = attrs.fields_dict(getattr(settings, name))
    rows = {row[0].strip("`"): row[2] for row in table_rows(section(page_text("reference/settings.md"), heading))}
    assert rows.keys() == fields.keys()
    for key, told in rows.items():
        default = fields[key].default
        if isinstance(default, bool | str):
            assert told.strip('`"') == str(default), key
        elif isinstance(default, int | float):
            number, unit, _ = told.partition(" MiB")
            assert float(number.replace(" ", "")) * (2**20 if unit else 1) == default, key


def public_awaits() -> set[str]:
    """``Class.method`` of everything that a user awaits, enters or iterates."""
    import trealtime

    found = {"serve_realtime_session", "RealtimeSession.__aiter__", "RealtimeSession.attach", "RealtimeSession.listen"}
    for kind in (
        trealtime.RealtimeRunner,
        trealtime.RealtimeSession,
        trealtime.SessionResponse,
        trealtime.Subscription,
        trealtime.Attachment,
        trealtime.calls.RealtimeRestClient,
        trealtime.mcp.MCPServer,
    ):
        ours = (base for base in kind.__mro__ if base.__module__.startswith("trealtime"))
        for name, function in (entry for base in ours for entry in vars(base).items()):
            waits = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(inspect.unwrap(function))
            if waits and (not name.startswith("_") or name.startswith("__")):
                found.add(f"{kind.__name__}.{name}")
    return found


def test_every_public_await_has_its_row_in_the_cancellation_table() -> None:
    rows = {row[0].strip("`") for row in table_rows(page_text("understand/cancellation.md"))}
    assert rows - {"a tool of yours"} == public_awaits()


def test_every_error_is_on_the_errors_page() -> None:
    from trealtime import errors

    kinds = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    kinds = {name for name in kinds if issubclass(getattr(errors, name), Exception)}
    page = page_text("reference/errors.md")
    assert [name for name in kinds if not re.search(rf"^[ |]*(\+-- )?{name}\b", page, re.MULTILINE)] == []


def test_every_event_is_on_the_events_page() -> None:
    from trealtime import events

    kinds = [getattr(events, name) for name in events.__all__ if name.startswith("Realtime")]
    types = {attrs.fields_dict(kind)["type"].default for kind in kinds if attrs.has(kind)}
    assert types - code_words(page_text("reference/events.md")) == set()


def test_every_command_is_on_the_page_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    from trealtime.cli import main

    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    ([a-z]+) ", capsys.readouterr().out, re.MULTILINE)
    words = " ".join(code_words(page_text("reference/cli.md")))
    assert commands
    assert [name for name in commands if f"trealtime {name}" not in words] == []


def public_names() -> set[str]:
    """``module.name`` of each, with the first module of the tables that shows it."""
    from trealtime._names import TABLES

    found: dict[str, str] = {}
    for module in (*TABLES, "trealtime.events", "trealtime.usage"):
        for name in importlib.import_module(module).__all__:
            found.setdefault(name, f"{module}.{name}")
    return set(found.values())


def test_every_public_name_is_in_the_api_reference() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference" / "api").glob("*.md"))
    documented = set(re.findall(r"^\.\. [\w:]+:: (trealtime[.\w]+)", pages, re.MULTILINE))
    assert public_names() - {"trealtime.__version__"} - documented == set()


def test_every_option_of_the_emulator_is_on_its_page() -> None:
    from trealtime.emulator import open_emulator

    assert set(inspect.signature(open_emulator).parameters) - code_words(page_text("reference/emulator.md")) == set()


def test_the_pictures_are_those_that_the_code_draws() -> None:
    folder = ROOT / "docs"
    spec = importlib.util.spec_from_file_location("diagrams", folder / "diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    diagrams = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(diagrams)
    for name, svg in diagrams.draw_all().items():
        assert (folder / "_static" / name).read_text(encoding="utf-8") == svg, "run: python docs/diagrams.py"
