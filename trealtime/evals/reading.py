"""Reading scenarios from YAML files; every problem is reported with its file and line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from trealtime.errors import MissingDependency, ScenarioError
from trealtime.evals.scenario import DEFAULT_WITHIN_S, Expectation, Mock, Scenario, Step

__all__ = ["read_scenarios"]

_FILE_KEYS = ("agent", "settings", "tools", "within", "scenarios")
_SCENARIO_KEYS = ("name", "agent", "settings", "tools", "within", "steps")
_STEP_KEYS = ("say", "speak", "wait", "within", "interrupt_at", "approve", "answer", "expect")
_MOCK_KEYS = frozenset({"returns", "error", "after"})
_SUFFIXES = (".yaml", ".yml")
_AGENT = re.compile(r"[\w.]+:[\w.]+")

Place = tuple[str | int, ...]


def read_scenarios(paths: Sequence[Path]) -> list[Scenario]:
    """Return the scenarios in these files, and in the ``.yaml`` and ``.yml`` files below these folders, sorted by name.

    Raises `ScenarioError` with every problem of every file, `MissingDependency` without ``trealtime[eval]``.
    """
    files: list[Path] = []
    problems: list[str] = []
    for path in paths:
        if path.is_dir():
            below = sorted(each for each in path.rglob("*") if each.suffix in _SUFFIXES)
            if not below:
                problems.append(f"{path}: no .yaml files in here")
            files += below
        elif path.is_file():
            files.append(path)
        else:
            problems.append(f"{path}: no such file or folder")
    scenarios: list[Scenario] = []
    for file in files:
        reader = _Reader(file)
        scenarios += reader.read()
        problems += reader.problems
    if problems:
        raise ScenarioError(problems)
    return scenarios


_MOST_VALUES: Final = 100_000
"""Of one file: anchors in anchors make any number of values out of ten lines."""


@attrs.define
class _Reader:
    """The reader of one file, with its problems and the line of each value."""

    file: Path
    problems: list[str] = attrs.field(factory=list, init=False)
    lines: dict[Place, int] = attrs.field(factory=dict, init=False)

    def read(self) -> list[Scenario]:
        content = self._load()
        if content is None:
            return []
        if not isinstance(content, dict):
            self._wrong((), content, "a mapping with scenarios, or with the steps of one")
            return []
        if "scenarios" not in content:
            return self._scenario((), content, {})
        self._check_keys((), content, _FILE_KEYS)
        listed = self._get((), content, "scenarios", list, "a list of scenarios") or []
        return [
            scenario
            for number, each in enumerate(listed)
            for scenario in self._mapping(
                ("scenarios", number), each, lambda at, found: self._scenario(at, found, content)
            )
        ]

    # ---- YAML ------------------------------------------------------------------------------------------------------

    def _load(self) -> Any:
        try:
            import yaml
        except ModuleNotFoundError:
            raise MissingDependency("scenarios in YAML", extra="eval") from None
        try:
            text = self.file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(f"{self.file}: cannot be read: {error}")
            return None
        try:
            loader = yaml.SafeLoader(text)
            try:
                node = loader.get_single_node()
                if node is None:
                    self.problems.append(f"{self.file}:1: the file is empty")
                    return None
                if _values_of(node, {}) > _MOST_VALUES:
                    self.problems.append(f"{self.file}:1: more than {_MOST_VALUES:,} values, with those of its anchors")
                    return None
                return self._located(loader, node, ())
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, why = 1 if mark is None else mark.line + 1, error.problem or error.context
        except yaml.reader.ReaderError as error:
            line, why = text.count("\n", 0, error.position) + 1, str(error).partition(":")[0]
        except RecursionError:
            line, why = 1, "nested too deeply, or an anchor that stands in itself"
        self.problems.append(f"{self.file}:{line}: not YAML: {why}")
        return None

    def _located(self, loader: Any, node: Any, at: Place) -> Any:
        self.lines.setdefault(at, node.start_mark.line + 1)
        if node.id == "mapping":
            loader.flatten_mapping(node)
            mapping: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = self._constructed(loader, key_node, at)
                if isinstance(key, list | dict | set):  # YAML allows it
                    self.lines[at] = key_node.start_mark.line + 1
                    self._problem(at, f"got the key {key!r}, allowed: a text")
                    continue
                # Keys of users stay as they are; `_plain` takes "interrupt at" for interrupt_at among ours.
                if key in mapping:
                    self.lines[(*at, key)] = key_node.start_mark.line + 1
                    self._problem((*at, key), "stands here twice")
                self.lines[(*at, key)] = key_node.start_mark.line + 1
                mapping[key] = self._located(loader, value_node, (*at, key))
            return mapping
        if node.id == "sequence":
            return [self._located(loader, each, (*at, number)) for number, each in enumerate(node.value)]
        return self._constructed(loader, node, at)

    def _constructed(self, loader: Any, node: Any, at: Place) -> Any:
        try:
            return loader.construct_object(node, deep=True)
        except ValueError as error:  # such as the 31st of April
            self._problem(at, f"got {node.value}, which is no {node.tag.rpartition(':')[2]}: {error}")
            return None

    # ---- scenarios -------------------------------------------------------------------------------------------------

    def _scenario(self, at: Place, found: dict[str, Any], defaults: Mapping[str, Any]) -> list[Scenario]:
        self._check_keys(at, found, _SCENARIO_KEYS)
        before = len(self.problems)
        name = self._get(at, found, "name", str, "a text") or self.file.stem
        agent = self._get(at, found, "agent", str, "module:attribute") or self._get(
            (), defaults, "agent", str, "module:attribute"
        )
        if agent is None:
            self._problem(at, "there is no agent; it is named as module:attribute, here or at the top of the file")
        elif not _AGENT.fullmatch(agent):
            self._wrong(
                (*at, "agent") if "agent" in found else ("agent",), agent, "module:attribute, such as my_app:agent"
            )
        within_s = self._number(at, found, "within")
        if within_s is None:
            within_s = self._number((), defaults, "within")
        settings = {
            **(self._get((), defaults, "settings", dict, "a mapping of session settings") or {}),
            **(self._get(at, found, "settings", dict, "a mapping of session settings") or {}),
        }
        tools = self._mocks((), defaults) | self._mocks(at, found)
        listed = self._get(at, found, "steps", list, "a list of steps")
        if not listed:
            self._problem(at, "there are no steps")
        steps = [
            step
            for number, each in enumerate(listed or [])
            for step in self._mapping(
                (*at, "steps", number), each, lambda place, given: self._step(place, given, within_s)
            )
        ]
        if len(self.problems) > before or agent is None:
            return []
        line = self.lines.get(at, 1)
        return [
            Scenario(name=name, agent=agent, steps=steps, settings=settings, tools=tools, file=self.file, line=line)
        ]

    def _mocks(self, at: Place, found: Mapping[str, Any]) -> dict[str, Mock]:
        declared = self._get(at, found, "tools", dict, "a mapping from names of tools to what they return") or {}
        mocks: dict[str, Mock] = {}
        for name, value in declared.items():
            place = (*at, "tools", name)
            if isinstance(value, dict) and value and value.keys() <= _MOCK_KEYS:
                error = self._get(place, value, "error", str, "a text")
                after_s = self._number(place, value, "after") or 0.0
                mocks[name] = Mock(returns=value.get("returns"), error=error, after_s=after_s)
            else:
                mocks[name] = Mock(returns=value)
        return mocks

    def _step(self, at: Place, found: dict[str, Any], within_s: float | None) -> list[Step]:
        found = self._plain(at, found)
        self._check_keys(at, found, _STEP_KEYS)
        ways = [key for key in ("say", "speak", "wait") if key in found]
        if len(ways) != 1:
            self._problem(at, f"a step has one of say, speak and wait; this one has {' and '.join(ways) or 'none'}")
            return []
        own_s = self._number(at, found, "within")
        approve = self._get(at, found, "approve", bool, "true or false")
        return [
            Step(
                say=self._get(at, found, "say", str, "a text (in quotes, where YAML takes it for something else)"),
                speak=self._get(at, found, "speak", str, "a text"),
                wait_s=self._number(at, found, "wait"),
                within_s=next(each for each in (own_s, within_s, DEFAULT_WITHIN_S) if each is not None),
                interrupt_at_s=self._number(at, found, "interrupt_at"),
                approve=True if approve is None else approve,
                answer=self._answer(at, found),
                expect=self._expectation((*at, "expect"), found.get("expect")),
                line=self.lines.get(at, 1),
            )
        ]

    def _answer(self, at: Place, found: Mapping[str, Any]) -> tuple[str | Mapping[str, Any], ...]:
        value = found.get("answer")
        parts = value if isinstance(value, list) else [] if value is None else [value]
        for number, part in enumerate(parts):
            is_call = isinstance(part, dict) and part.keys() == {"call"} and isinstance(part["call"], dict)
            if not (isinstance(part, str) or is_call):
                place = (*at, "answer", number) if isinstance(value, list) else (*at, "answer")
                self._wrong(place, part, "a text, or a call: {call: {name: {argument: value}}}")
        return tuple(parts)

    def _expectation(self, at: Place, value: Any) -> Expectation:
        if value is None:
            return Expectation()
        if not isinstance(value, dict):
            self._wrong(at, value, f"a mapping with some of {', '.join(attrs.fields_dict(Expectation))}")
            return Expectation()
        found = self._plain(at, value)
        fields = attrs.fields_dict(Expectation)
        self._check_keys(at, found, tuple(fields))
        read: dict[str, Any] = {}
        for key in found.keys() & fields.keys():
            if key in ("contains", "not_contains", "not_called"):
                read[key] = self._texts((*at, key), found[key])
            elif key == "called":
                read[key] = self._calls((*at, key), found[key])
            elif key == "interrupted":
                read[key] = self._get(at, found, key, bool, "true or false")
            else:
                read[key] = self._get(at, found, key, str, "a text")
        if isinstance(read.get("matches"), str):
            try:
                re.compile(read["matches"])
            except re.error as error:
                self._wrong((*at, "matches"), read["matches"], f"a regular expression ({error})")
        return Expectation(**read)

    def _texts(self, at: Place, value: Any) -> list[str]:
        listed = value if isinstance(value, list) else [value]
        for each in listed:
            if not isinstance(each, str):
                self._wrong(at, each, "a text, or a list of texts")
        return listed

    def _calls(self, at: Place, value: Any) -> list[tuple[str, Mapping[str, Any]]]:
        calls: list[tuple[str, Mapping[str, Any]]] = []
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str):
                calls.append((each, {}))
            elif isinstance(each, dict) and all(isinstance(given, dict) or given is None for given in each.values()):
                calls += [(name, given or {}) for name, given in each.items()]
            else:
                self._wrong(at, each, "the name of a tool, {name: {argument: value}}, or a list of these")
        return calls

    # ---- values ----------------------------------------------------------------------------------------------------

    def _mapping(self, at: Place, value: Any, read: Callable[[Place, dict[str, Any]], list[Any]]) -> list[Any]:
        if isinstance(value, dict):
            return read(at, value)
        self._wrong(at, value, "a mapping")
        return []

    def _plain(self, at: Place, found: Mapping[Any, Any]) -> dict[str, Any]:
        """Return `found` with ``interrupt at`` as ``interrupt_at``."""
        plain: dict[str, Any] = {}
        for key, value in found.items():
            name = key.replace(" ", "_") if isinstance(key, str) else key
            self.lines[(*at, name)] = self.lines.get((*at, key), 1)
            plain[name] = value
        return plain

    def _check_keys(self, at: Place, found: Mapping[Any, Any], allowed: Sequence[str]) -> None:
        for key in found:
            if key not in allowed:
                near = difflib.get_close_matches(str(key), allowed, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                self._problem((*at, key), f"is no key here; allowed: {', '.join(allowed)}{hint}")

    def _get(self, at: Place, found: Mapping[str, Any], key: str, kind: type, allowed: str) -> Any:
        value = found.get(key)
        if value is None or isinstance(value, kind):
            return value
        self._wrong((*at, key), value, allowed)
        return None

    def _number(self, at: Place, found: Mapping[str, Any], key: str) -> float | None:
        value = found.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            self._wrong((*at, key), value, "a number of seconds")
            return None
        return float(value)

    def _wrong(self, at: Place, value: Any, allowed: str) -> None:
        self._problem(at, f"got {value!r}, allowed: {allowed}")

    def _problem(self, at: Place, words: str) -> None:
        line = next((self.lines[at[:size]] for size in range(len(at), -1, -1) if at[:size] in self.lines), 1)
        place = ".".join(map(str, at))
        self.problems.append(f"{self.file}:{line}: {f'{place}: ' if place else ''}{words}")


def _values_of(node: Any, known: dict[int, int]) -> int:
    """Return the number of values in a node of YAML, where each mention of an anchor counts."""
    if id(node) not in known:
        inside = [each for pair in node.value for each in pair] if node.id == "mapping" else node.value
        nested = sum(_values_of(each, known) for each in inside) if node.id in ("mapping", "sequence") else 0
        known[id(node)] = 1 + nested
    return known[id(node)]
