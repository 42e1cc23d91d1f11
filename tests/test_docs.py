"""The documentation as a test: what README and docs say of the code is what the code says."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from proxy import cli
from proxy.call import Ending, How, Role
from proxy.config import Loaded, NotLoaded, load
from proxy.config.providers import PROVIDERS
from proxy.config.settings import Config
from proxy.dialect import request
from proxy.edge import errors, headers
from proxy.edge.access import ACCESS, Keyless, Rule
from proxy.edge.admin.endpoint import OVER_HTTP
from proxy.edge.admin.operations import OPERATIONS
from proxy.policy import AnyPolicy
from proxy.policy.charge import Tariff
from proxy.policy.prices import PriceList
from tests.docs_reading import (
    ROOT,
    Block,
    anchors,
    blocks,
    blocks_of,
    broken_links,
    coded,
    documents,
    missing_files,
    rows,
)
from tests.docs_tables import MARKED, rewritten

API = (ROOT / "docs/api.md").read_text()
OPERATING = (ROOT / "docs/operating.md").read_text()
ENERGY = (ROOT / "docs/energy.md").read_text()
DECISIONS = (ROOT / "docs/decisions.md").read_text()
README = (ROOT / "README.md").read_text()
DOCUMENTS = pytest.mark.parametrize("file", documents(), ids=lambda file: file.name)


@DOCUMENTS
def test_tables_made_from_the_code_are_what_the_code_makes_of_them(file: Path) -> None:
    text = file.read_text()
    assert text == rewritten(text), "run: python -m tests.docs_tables"
    assert text.count("<!-- table:") == len(MARKED.findall(text))


def shapes(shape: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The settings classes below this one, itself included."""
    yield shape
    for field in shape.model_fields.values():
        for below in classes(field.annotation):
            yield from shapes(below)


def classes(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from classes(argument)


def test_every_setting_has_its_table() -> None:
    sources = (found["source"].partition(":") for file in documents() for found in MARKED.finditer(file.read_text()))
    told = {getattr(import_module(module), name) for module, _, name in sources if name}
    roots: list[type[BaseModel]] = [Config, *classes(AnyPolicy)]
    named = {below for shape in roots for below in shapes(shape)}
    assert named - told == set()


@DOCUMENTS
def test_links_lead_somewhere(file: Path) -> None:
    assert broken_links(file, file.read_text()) == []


@DOCUMENTS
def test_named_files_exist(file: Path) -> None:
    assert missing_files(file.read_text()) == []


def test_a_dead_link_a_missing_heading_and_a_missing_file_are_found() -> None:
    file = ROOT / "README.md"
    assert broken_links(file, "[a](docs/none.md) [b](docs/api.md#none) [c](docs/api.md#keys)") == [
        "docs/none.md",
        "docs/api.md#none",
    ]
    assert missing_files("`proxy/none.py` proxy/edge/ none.py asgi.py") == ["proxy/none.py", "proxy/edge/none.py"]
    assert anchors("# actions.NAME\n## A b, c") == {"actionsname", "a-b-c"}


def test_the_readme_maps_every_document() -> None:
    named = {target for row in rows(README, "page") for target in re.findall(r"\((.+?\.md)\)", row[0])}
    assert named == {str(file.relative_to(ROOT)) for file in documents()} - {"README.md"}


# --- configuration ----------------------------------------------------------------------------------------------------


def environment(text: str) -> dict[str, str]:
    """Every provider's key, and whatever the text refers to."""
    known = {variable for provider in PROVIDERS.values() for variable in provider.variables}
    return dict.fromkeys([*known, *re.findall(r"\$\{(\w+)\}", text)], "sk-test")


def as_files(block: Block) -> dict[str, str]:
    """The block's first line says which file it is, or that it stands ``in`` one, in place of what is there."""
    whole = re.match(r"# (config\.yaml|policies/\w+\.yaml)\n", block.text)
    files = {f"policies/{name}.yaml": (ROOT / f"policies/{name}.yaml").read_text() for name in ("default", "energy")}
    if whole:
        return {**files, whole[1]: block.text}
    assert block.text.startswith("# in policies/default.yaml\n"), f"{block} does not say which file it is"
    chain = yaml.safe_load(files["policies/default.yaml"])
    changed = {entry["kind"]: entry for entry in yaml.safe_load(block.text)}
    assert changed.keys() <= {entry["kind"] for entry in chain}
    return {**files, "policies/default.yaml": yaml.safe_dump([changed.get(entry["kind"], entry) for entry in chain])}


def loaded(directory: Path, files: dict[str, str]) -> Loaded:
    for name, text in {"config.yaml": "", **files}.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
    return load(directory / "config.yaml", environment("".join(files.values())))


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_in_the_documentation_is_configuration_that_loads(tmp_path: Path, block: Block) -> None:
    assert loaded(tmp_path, as_files(block)).models


def test_yaml_that_does_not_load_is_found(tmp_path: Path) -> None:
    (block,) = blocks_of(ROOT / "README.md", "```yaml\n# in policies/default.yaml\n- {kind: retry, attempts: 2}\n```\n")
    with pytest.raises(NotLoaded, match="did you mean 'attempts_max'"):
        loaded(tmp_path, as_files(block))


def test_the_shown_problem_is_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotLoaded) as refused:
        loaded(tmp_path, {"config.yaml": "store: sqlite:///data/orch.db\n\nlimits:\n  call_max: 200\n"})
    assert [str(problem) + "\n" for problem in refused.value.problems] == [
        block.text for block in shown("config.yaml:")
    ]


def shown(beginning: str) -> list[Block]:
    return [block for block in blocks("text") if block.text.startswith(beginning)]


def test_the_shipped_config_serves_without_any_key() -> None:
    found = load(ROOT / "config.yaml", {})
    assert [upstream.via for upstream in found.config.upstreams.values()] == ["mock"]
    assert found.config == load(ROOT / "config.yaml", {"ORCH_ADMIN_KEY": "x"}).config


def test_the_config_in_the_readme_is_short() -> None:
    (block,) = (block for block in blocks("yaml") if block.file.name == "README.md")
    assert block.text.count("\n") <= 15


# --- the API ----------------------------------------------------------------------------------------------------------


def keys_of(rule: Rule) -> str:
    """Whose keys a route takes, as the documentation says it."""
    if rule.keyless is Keyless.ANYBODY:
        return "none"
    roles = "any" if set(rule.who) == set(Role) else ", ".join(role for role in Role if role in rule.who)
    return f"none from near, else {roles}" if rule.keyless is Keyless.NEAR else roles


def test_the_endpoints_are_those_that_are_served_to_whom_they_are() -> None:
    documented = {(method, coded(path)[0]): key for method, path, key, _ in rows(API, "method | path")}
    documented |= {(method, coded(path)[0]): "admin" for method, path, _, _ in rows(API, "operation | path")}
    assert documented == {(rule.method, rule.path): keys_of(rule) for rule in ACCESS}


def test_the_parameters_of_the_operators_routes_are_those_that_are_known() -> None:
    asked = {(method, coded(path)[0]): coded(names) for method, path, names, _ in rows(API, "operation | path")}
    for rule in ACCESS:
        if rule.name in OPERATIONS:
            known = list(OPERATIONS[rule.name].question.model_fields)
            assert asked[rule.method, rule.path] == [name for name in known if f"{{{name}}}" not in rule.path]


def test_the_errors_are_those_of_the_table() -> None:
    coded_rows = {(int(status), *coded(kind), *coded(code)) for status, kind, code, _ in rows(API, "status | type")}
    assert coded_rows == {(status, kind, error.reason) for error, (status, kind) in errors._TABLE.items()}


NEVER_ANSWERED = {"litellm_missing", "litellm_unsafe"}  # a proxy that has no LiteLLM it can use does not start


def codes(folder: str) -> Iterator[str]:
    """What the files of the folder give as the reason of an error that a client may see, written out or by a constant's name."""
    for file in (ROOT / "proxy" / folder).rglob("*.py"):
        module = import_module(".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
        calls = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))
        for given in (value for node in calls for value in reasons(node)):
            if isinstance(given, ast.Constant) and re.fullmatch(r"[a-z_]+", str(given.value)):
                yield str(given.value)
            elif isinstance(given, ast.Name) and hasattr(module, given.id):
                yield str(getattr(module, given.id))


def reasons(node: ast.Call) -> list[ast.expr]:
    refuses = isinstance(node.func, ast.Name) and node.func.id == "_refuse"
    return [keyword.value for keyword in node.keywords if keyword.arg == "reason"] + (node.args[2:3] if refuses else [])


def test_every_code_a_client_may_see_is_documented() -> None:
    documented = {coded(row[2])[0] for row in rows(API, "status | type")} | {
        coded(row[0])[0] for row in rows(API, "code | status")
    }
    known = {code for folder in ("edge", "policy", "dialect", "upstream") for code in codes(folder)}
    known |= OVER_HTTP.keys()
    of_classes = {error.reason for error in errors._TABLE}
    assert {"unknown_action", "integer_below_min_value", "answer_too_large"} <= known
    assert known - NEVER_ANSWERED <= documented
    assert documented <= known | of_classes | {"context_length_exceeded", "upstream_quota_exhausted"}


def test_what_a_call_can_say_is_what_is_read() -> None:
    own = {f"metadata.{name}" for name in request._OWN} | {
        name.decode() for name in headers._ONCE if name.startswith(b"x-orch-")
    }
    assert {coded(row[0])[0] for row in rows(API, "name | where")} == own


# --- energy, operating, decisions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", [{}, {"on_partial": "full", "on_unknown": "charge"}], ids=["default", "otherwise"])
def test_the_charge_table_is_the_tariff(choice: dict[str, Any]) -> None:
    prices = PriceList.model_validate(yaml.safe_load((ROOT / "policies/energy.yaml").read_text()))
    told: dict[str, Any] = {"on_partial": "free", "on_unknown": "release", **choice}
    tariff = Tariff(action="ai_message", prices=prices, models={}, **told)
    paid = {how.value for how in How if tariff(Ending(how, "gpt-4o"))}
    table = {coded(how)[0]: (charged, what) for how, charged, what in rows(ENERGY, "ending | charged")}
    assert table.keys() == {how.value for how in How}
    assert paid == {
        how for how, (charged, what) in table.items() if charged == "price" or (choice and "the price with" in what)
    }


def test_the_fixed_limits_have_the_values_that_are_told() -> None:
    for limit, value, _ in rows(OPERATING, "limit | value"):
        module, _, name = coded(limit)[0].partition(":")
        assert getattr(import_module(module), name) == float(value), limit


def test_the_exit_codes_are_those_of_orch() -> None:
    assert [int(row[0]) for row in rows(OPERATING, "exit code | when")] == [code.value for code in cli.Exit]


def tree(name: str) -> dict[str, set[str]]:
    """The commands below ``orch NAME`` and the options of each."""
    command = cli.load(name)
    below = getattr(command, "commands", {})
    return {
        f"orch {name} {sub}".rstrip(): {option for parameter in leaf.params for option in parameter.opts}
        for sub, leaf in (below or {"": command}).items()
    }


COMMANDS = {command: options for name in cli.TABLE for command, options in tree(name).items()}


def test_the_commands_are_those_of_orch() -> None:
    assert {command for row in rows(OPERATING, "command | what") for command in coded(row[0])} == COMMANDS.keys()


def test_every_command_has_its_place_in_the_reference() -> None:
    tables = re.findall(r"<!-- table: orch-(\S+) -->", (ROOT / "docs/cli.md").read_text())
    assert sorted(name for table in tables for name in table.split(",")) == sorted(cli.TABLE)


def wrong_commands(text: str) -> list[str]:
    """Uses of ``orch`` in code that name no command of it, or an option that the command does not have."""
    wrong = []
    for used in re.findall(r"(?:^|`|/)(orch [a-z][^`\n#]*)", text, re.MULTILINE):
        words = [word.rstrip(":,;") for word in used.split()]
        if len(words) == 2 and words[1] in cli.TABLE:
            continue  # a command, or a group of them as a whole
        options = COMMANDS.get(" ".join(words[:3]), COMMANDS.get(" ".join(words[:2])))
        if options is None or not options.issuperset(word for word in words if word.startswith("--")):
            wrong.append(used)
    return wrong


def test_every_use_of_orch_is_one_that_exists() -> None:
    assert [wrong for file in documents() for wrong in wrong_commands(file.read_text())] == []
    assert wrong_commands("`orch keys make` `orch keys lists` `orch serve --port 1` `orch keys list --json`") == [
        "orch keys make",
        "orch keys lists",
        "orch serve --port 1",
    ]


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {
        target for file in documents() for target in re.findall(r"(?:^|`)make (\w+)", file.read_text(), re.MULTILINE)
    }
    assert {"demo", "test"} <= used <= targets


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    reasons_given = re.findall(r"\*\*([\w-]+)\*\*", DECISIONS.partition("## Dependencies")[2])
    told, named = sorted(reasons_given), sorted(re.split(r"[\[<>=]", name)[0] for name in listed)
    assert told == named, "docs/decisions.md says of each dependency why it is there and what it costs"


def test_the_changelog_keeps_the_format() -> None:
    titles = re.findall(r"^##+ (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert titles[0] == "[Unreleased]"
    assert all(title in kinds or re.fullmatch(r"\[(Unreleased|\d+\.\d+\.\d+)\].*", title) for title in titles)


def test_the_benchmarks_that_are_quoted_can_be_run() -> None:
    for script in re.findall(r"bench/(\w+)\.py", README):
        subprocess.run(["test", "-f", str(ROOT / f"bench/{script}.py")], check=True)
