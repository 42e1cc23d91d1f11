"""The house rules of Python files as a test: caps, banned constructs and names, import directions.

Every rule is a function from a source to the lines that break it; ``test_every_rule_can_fail`` shows each one a source
that breaks it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 40
NESTING_MAX = 3
PARAMETERS_MAX = 6
TEST_FUNCTION_LINES_MAX = 60

NAMES = {"util", "utils", "helper", "helpers", "manager", "data", "info", "misc", "common", "handle_stuff"}
NAME_ENDS = ("_utils", "_helper", "_helpers", "_manager", "Helper", "Manager", "Utils")
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
Function = ast.FunctionDef | ast.AsyncFunctionDef
LAZY_IMPORTS = {"proxy/upstream/litellm.py", "proxy/cli/__init__.py"}
ROOTS = ("proxy/app.py", "proxy/server.py", "proxy/testing/", "proxy/cli/", "proxy/__main__.py")
"""Composition roots, and the public fakes that start a whole proxy: they may import whatever they put together."""


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file: its path from the root of the repository, its text, its tree."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


Rule = Callable[[Source], Iterator[str]]


def at(node: ast.stmt | ast.expr | ast.excepthandler, what: str) -> str:
    return f"{node.lineno}: {what}"


def functions(source: Source) -> Iterator[Function]:
    return (node for node in ast.walk(source.tree) if isinstance(node, Function))


def file_length(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{lines} lines, more than {FILE_LINES_MAX}"


def function_length(source: Source) -> Iterator[str]:
    cap = FUNCTION_LINES_MAX if source.path.startswith("proxy/") else TEST_FUNCTION_LINES_MAX
    for node in functions(source):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1 - option_lines(node)
        if lines > cap:
            yield at(node, f"{node.name} has {lines} lines, more than {cap}")


def option_lines(node: Function) -> int:
    """The lines that declare a command's options: reference documentation, as a docstring is."""
    return node.body[0].lineno - node.lineno if is_command(node) else 0


def nesting(source: Source) -> Iterator[str]:
    for node in functions(source):
        depth = max((depth_of(statement) for statement in node.body), default=0)
        if depth > NESTING_MAX:
            yield at(node, f"{node.name} nests {depth} deep, more than {NESTING_MAX}")


def depth_of(node: ast.AST) -> int:
    """Deepest blocks inside each other; an inner function counts for itself, an ``elif`` is no deeper than its ``if``."""
    if isinstance(node, Function | ast.ClassDef | ast.Lambda):
        return 0
    own = 1 if isinstance(node, BLOCKS) else 0
    inner = 0
    for child in ast.iter_child_nodes(node):
        continued = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        inner = max(inner, depth_of(child) - (1 if continued else 0))
    return own + inner


def parameters(source: Source) -> Iterator[str]:
    for node in functions(source):
        if is_command(node):
            continue  # a command's options are its parameters
        count = sum(argument.arg not in ("self", "cls") for argument in arguments(node))
        if count > PARAMETERS_MAX:
            yield at(node, f"{node.name} has {count} parameters, more than {PARAMETERS_MAX}")


def boolean_parameters(source: Source) -> Iterator[str]:
    for node in functions(source):
        for argument in arguments(node):
            if is_bool(argument.annotation) and not is_command(node):
                yield at(node, f"{node.name}({argument.arg}: bool): make two functions, or an enum")


def arguments(node: Function) -> list[ast.arg]:
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


def is_bool(annotation: ast.expr | None) -> bool:
    return annotation is not None and re.fullmatch(r"bool( \| None)?", ast.unparse(annotation)) is not None


def is_command(node: Function) -> bool:
    return any(re.match(r"app\.(command|callback)\(", ast.unparse(decorator)) for decorator in node.decorator_list)


def docstring(source: Source) -> Iterator[str]:
    text = ast.get_docstring(source.tree)
    if not text:
        yield "1: open the module with what it is for"
    elif re.match(r"(This|The) (module|file|package) (contains|provides|implements|is)", text):
        yield "1: say what it is for, not that it is a module"


def catching_everything(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = "" if node.type is None else ast.unparse(node.type)
        if node.type is None or "BaseException" in caught:
            yield at(node, "name the errors that are meant")
        elif caught == "Exception" and all(isinstance(statement, ast.Pass) for statement in node.body):
            yield at(node, "except Exception: pass hides every error")


def loose_tasks(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("asyncio.create_task", "asyncio.ensure_future"):
            yield at(node, "a task belongs to a task group")


def global_statements(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Global):
            yield at(node, "state lives behind a port, not in a global")


def late_imports(source: Source) -> Iterator[str]:
    if source.path in LAZY_IMPORTS:
        return
    for outer in functions(source):
        for node in ast.walk(outer):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield at(node, "import at the top")
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
                yield at(node, "import at the top")


def module_state(source: Source) -> Iterator[str]:
    """A lower-case name at module level bound to something that can change: state, or a constant in disguise."""
    for node in source.tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            name = target.id if isinstance(target, ast.Name) else ""
            if changeable(value) and not name.strip("_").isupper() and name != "__all__":
                yield at(node, f"{name}: module-level mutable state")


def changeable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).split(".")[-1] in {
            "dict",
            "list",
            "set",
            "defaultdict",
            "OrderedDict",
            "deque",
            "Counter",
        }
    return isinstance(value, ast.Dict | ast.List | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def names(source: Source) -> Iterator[str]:
    stem = Path(source.path).stem
    if stem in NAMES or stem.endswith(NAME_ENDS):
        yield f"1: {stem} says nothing; name the module by what it is for"
    for node in ast.walk(source.tree):
        if isinstance(node, Function | ast.ClassDef) and (node.name.lower() in NAMES or node.name.endswith(NAME_ENDS)):
            yield at(node, f"{node.name} says nothing; use the field's term")


def unfinished(source: Source) -> Iterator[str]:
    marks = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"))
    for number, line in enumerate(source.text.splitlines(), 1):
        if re.search(rf"\b({marks})\b", line):
            yield f"{number}: do it or leave it out"


def imported(source: Source) -> Iterator[tuple[ast.stmt, str]]:
    """Every module that the file imports, those for type checking only too: a name is a dependency as well."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield node, node.module or ""
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


ADAPTERS = (
    r"proxy\.(journal\.(sqlite|memory|postgres)|upstream\.(passthrough|litellm|mock)|app|server|cli|testing)(\..*)?"
)

DIRECTIONS = {
    r"proxy/(call|errors|chain)\.py": r"proxy\.(?!(call|errors)\b).*",
    r"proxy/dialect/": r"proxy\.(?!(call|errors|dialect)\b).*",
    r"proxy/policy/": rf"{ADAPTERS}|proxy\.(edge|upstream|journal|cli|telemetry)(\..*)?",
    r"proxy/route/": rf"{ADAPTERS}|proxy\.(edge|policy|upstream|journal|telemetry)(\..*)?",
    r"proxy/upstream/": r"proxy\.(edge|policy|journal|app|server|cli|keys|telemetry|testing)(\..*)?",
    r"proxy/journal/": r"proxy\.(edge|policy|upstream|route|config|app|server|cli|telemetry|testing)(\..*)?",
    r"proxy/edge/": rf"{ADAPTERS}|proxy\.telemetry\.(?!(port|observers)\b).*",
    r"proxy/telemetry/": rf"{ADAPTERS}|proxy\.(edge|policy|upstream)(\..*)?",
    r"proxy/config/": rf"{ADAPTERS}|proxy\.(edge|telemetry)(\..*)?",
    r"proxy/keys\.py": rf"{ADAPTERS}|proxy\.(edge|policy|upstream|route|config)(\..*)?",
}
"""Where a file is -> what it may not import. ``edge -> chain -> policy -> call <- ports``."""


def directions(source: Source) -> Iterator[str]:
    if source.path.startswith(ROOTS):
        return
    for where, banned in DIRECTIONS.items():
        if not re.match(where, source.path):
            continue
        for node, module in imported(source):
            if module.startswith("proxy.") and re.fullmatch(banned, module):
                yield at(node, f"{where} may not import {module}")


def litellm_imports(source: Source) -> Iterator[str]:
    if source.path == "proxy/upstream/litellm.py":
        return
    for node, module in imported(source):
        if module.split(".")[0] == "litellm":
            yield at(node, "only proxy/upstream/litellm.py imports litellm")


RULES: tuple[Rule, ...] = (
    file_length,
    function_length,
    nesting,
    parameters,
    boolean_parameters,
    docstring,
    catching_everything,
    loose_tasks,
    global_statements,
    late_imports,
    module_state,
    names,
    unfinished,
    directions,
    litellm_imports,
)

TEST_RULES: tuple[Rule, ...] = (
    file_length,
    function_length,
    docstring,
    catching_everything,
    global_statements,
    module_state,
    unfinished,
)
"""What also holds for tests and benchmarks; a test may run a task of its own and import where it wants."""


def sources(folder: str) -> list[Source]:
    return [
        Source(str(file.relative_to(ROOT)), file.read_text(encoding="utf-8"))
        for file in sorted((ROOT / folder).rglob("*.py"))
    ]


def broken(rule: Rule, folder: str) -> list[str]:
    return [f"{source.path}:{line}" for source in sources(folder) for line in rule(source)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_product_keeps_the_house_rules(rule: Rule) -> None:
    found = broken(rule, "proxy")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("rule", TEST_RULES, ids=lambda rule: rule.__name__)
def test_tests_and_benchmarks_keep_the_house_rules(rule: Rule) -> None:
    found = broken(rule, "tests") + broken(rule, "bench")
    assert not found, "\n".join(found)


DEEP = "def f():\n if a:\n  for b in c:\n   with d:\n    while e:\n     g()\n"
BREAKS: dict[Rule, tuple[str, str]] = {
    file_length: ("proxy/x.py", "a = 1\n" * (FILE_LINES_MAX + 1)),
    function_length: ("proxy/x.py", "def f():\n" + " a = 1\n" * FUNCTION_LINES_MAX),
    nesting: ("proxy/x.py", DEEP),
    parameters: ("proxy/x.py", "def f(self, a, b, c, *, d, e, f, g): ..."),
    boolean_parameters: ("proxy/x.py", "def f(*, strict: bool = False): ..."),
    docstring: ("proxy/x.py", "a = 1"),
    catching_everything: ("proxy/x.py", "try:\n a()\nexcept Exception:\n pass"),
    loose_tasks: ("proxy/x.py", "asyncio.create_task(a())"),
    global_statements: ("proxy/x.py", "def f():\n global a"),
    late_imports: ("proxy/x.py", "def f():\n import os"),
    module_state: ("proxy/x.py", "cache: dict[str, int] = {}"),
    names: ("proxy/x.py", "class CallManager: ..."),
    unfinished: ("proxy/x.py", "a = 1  # TO" + "DO: mend"),
    directions: ("proxy/policy/x.py", "from proxy.journal.sqlite import open_sqlite"),
    litellm_imports: ("proxy/x.py", "import litellm.utils"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_rule_can_fail(rule: Rule) -> None:
    path, text = BREAKS[rule]
    assert list(rule(Source(path, text)))


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (catching_everything, "proxy/x.py", "try:\n a()\nexcept:\n b()"),
        (catching_everything, "proxy/x.py", "try:\n a()\nexcept (A, BaseException):\n b()"),
        (docstring, "proxy/x.py", '"""This module contains the helper functions."""'),
        (late_imports, "proxy/x.py", "def f():\n importlib.import_module(a)"),
        (names, "proxy/utils.py", ""),
        (names, "proxy/x.py", "def info(): ..."),
        (module_state, "proxy/x.py", "seen = collections.OrderedDict()"),
        (directions, "proxy/upstream/mock.py", "from proxy.policy.energy import Energy"),
        (directions, "proxy/dialect/sse.py", "import proxy.config.settings"),
        (directions, "proxy/edge/serve.py", "from proxy.upstream import litellm"),
        (directions, "proxy/edge/serve.py", "from proxy.telemetry.call_metrics import CallMetrics"),
        (directions, "proxy/policy/retry.py", "from proxy.telemetry.port import Observer"),
        (directions, "proxy/journal/hold.py", "from proxy.edge.live import Live"),
        (directions, "proxy/call.py", "from proxy.policy import energy"),
        (litellm_imports, "proxy/route/catalog.py", "def f():\n from litellm import completion"),
    ],
)
def test_rules_see_every_form_of_what_they_ban(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text)))


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (nesting, "proxy/x.py", "def f():\n if a: b()\n elif c: d()\n elif e: g()\n elif h: i()\n else: j()"),
        (catching_everything, "proxy/x.py", "try:\n a()\nexcept Exception:\n log()\n raise"),
        (loose_tasks, "proxy/x.py", "group.create_task(a())"),
        (module_state, "proxy/x.py", "TABLE = {'a': 1}\n__all__ = ['A']"),
        (directions, "proxy/app.py", "from proxy.journal.sqlite import open_sqlite"),
        (directions, "proxy/policy/x.py", "from proxy.call import Call"),
        (directions, "proxy/edge/x.py", "from proxy.policy.prices import PriceList"),
        (parameters, "proxy/cli/x.py", "@app.command('x')\ndef f(a, b, c, d, e, f, g): ..."),
    ],
)
def test_rules_let_pass_what_is_right(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text))) == []
