"""Loader: files and environment made into one configuration, or everything that is wrong, from real files."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.config import Loaded, NotLoaded, load
from proxy.config.files import packaged_policies
from proxy.config.models import MOCK_MODELS, NO_KEY_HINT
from proxy.config.policies import FREE_HINT
from proxy.config.providers import PROVIDERS

POLICIES = "- {kind: auth}\n- {kind: retry}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def problems(path: Path | None = None, **environ: str) -> list[str]:
    with pytest.raises(NotLoaded) as raised:
        load(path, environ)
    assert str(raised.value) == "\n".join(str(problem) for problem in raised.value.problems)
    return str(raised.value).splitlines()


def kinds(loaded: Loaded) -> list[str]:
    return [policy.kind for policy in loaded.policies]


def test_an_empty_folder_and_an_empty_environment_serve_the_mock(folder: Path) -> None:
    loaded = load(None, {})
    assert loaded.hints == (NO_KEY_HINT,)
    assert set(MOCK_MODELS) <= set(loaded.models)
    assert kinds(loaded)[0] == "auth"
    assert loaded.config.store == f"sqlite:///{folder}/data/orch.db"
    assert loaded.files["default.yaml"] == packaged_policies().read_text()
    assert loaded.price_version is not None


@pytest.mark.parametrize("provider", sorted(name for name in PROVIDERS if PROVIDERS[name].variables))
def test_the_packages_policies_fit_every_provider_alone(folder: Path, provider: str) -> None:
    loaded = load(None, {PROVIDERS[provider].variables[0]: "sk-x"})
    assert set(loaded.config.upstreams) == {provider}
    assert bool(loaded.models) is not bool(loaded.hints)


def test_files_in_the_working_directory_are_found_unasked(folder: Path) -> None:
    write(folder, {"config.yaml": "limits: {calls_max: 7}", "policies/default.yaml": POLICIES})
    loaded = load(None, {})
    assert loaded.config.limits.calls_max == 7
    assert kinds(loaded) == ["auth", "retry"]
    assert dict(loaded.files) == {"default.yaml": POLICIES}
    assert loaded.watched == (folder / "config.yaml", folder / "policies" / "default.yaml")


def test_policies_in_the_working_directory_count_without_a_config_file(folder: Path) -> None:
    write(folder, {"policies/default.yaml": POLICIES})
    loaded = load(None, {})
    assert kinds(loaded) == ["auth", "retry"]
    assert folder / "config.yaml" in loaded.watched


def test_an_empty_config_file_is_all_defaults(folder: Path) -> None:
    write(folder, {"config.yaml": "# nothing yet\n", "policies/default.yaml": POLICIES})
    assert load(None, {}).config == load(folder / "config.yaml", {}).config


def test_relative_paths_start_at_the_config_files_folder(folder: Path) -> None:
    write(folder, {"etc/c.yaml": "store: sqlite:///x/o.db\npolicies: p/chain.yaml\n", "etc/p/chain.yaml": POLICIES})
    loaded = load(Path("etc/c.yaml"), {})
    assert loaded.config.store == f"sqlite:///{folder}/etc/x/o.db"
    assert loaded.watched == (folder / "etc/c.yaml", folder / "etc/p/chain.yaml")
    assert loaded.hints == (FREE_HINT, NO_KEY_HINT)


def test_the_packages_policies_stand_in_where_the_default_ones_are_missing(folder: Path) -> None:
    write(folder, {"etc/config.yaml": "policies: policies/default.yaml\n"})
    loaded = load(folder / "etc/config.yaml", {})
    assert "no policies/default.yaml beside config.yaml: using the policies that come with the package" in loaded.hints
    assert loaded.files["default.yaml"] == packaged_policies().read_text()
    assert folder / "etc/policies/default.yaml" in loaded.watched


def test_other_policies_that_are_missing_are_a_problem(folder: Path) -> None:
    write(folder, {"config.yaml": "policies: p/chain.yaml\n"})
    assert problems() == [
        "config.yaml:1:11 policies: no such file: correct the path, which starts at this file's folder"
    ]


def test_a_config_file_that_was_asked_for_must_exist(folder: Path) -> None:
    assert problems(Path("gone.yaml")) == ["gone.yaml:1:1 cannot be read: No such file or directory"]


def test_secrets_of_the_environment_reach_their_place_and_no_text(folder: Path) -> None:
    write(
        folder,
        {
            "config.yaml": (
                "upstreams:\n"
                '  o: {base_url: "http://a/v1", api_key: "${KEY}", headers: {x-team: os.environ/TEAM}}\n'
                "models: {m: {deployments: [{upstream: o}]}}\n"
            ),
            "policies/default.yaml": POLICIES,
        },
    )
    loaded = load(None, {"KEY": "sk-canary", "TEAM": "canary-team"})
    upstream = loaded.config.upstreams["o"]
    assert upstream.api_key is not None
    assert upstream.api_key.get_secret_value() == "sk-canary"
    assert upstream.headers["x-team"].get_secret_value() == "canary-team"
    assert "canary" not in repr(loaded)


def test_all_problems_of_all_files_are_told_at_once_from_top_to_bottom(folder: Path) -> None:
    write(
        folder,
        {
            "config.yaml": (
                "upstreams:\n"
                "  main: {base_url: 'http://a/v1', api_key: '${GONE}'}\n"
                "models:\n"
                "  gpt-4o: {deployments: [{upstream: mian}]}\n"
                "limits: {calls_max: 012}\n"
                "server: {listen: '4000'}\n"
            ),
            "policies/default.yaml": "- {kind: auth}\n- {kind: energy, prices: energy.yaml}\n- {kind: retyr}\n",
            "policies/energy.yaml": "actions: [",
        },
    )
    assert problems() == [
        "config.yaml:2:44 upstreams.main.api_key: the environment variable GONE is not set: set it, or write"
        " ${GONE:-default}",
        "config.yaml:5:21 limits.calls_max: a number with a leading zero is octal to some: quote it, or drop the zero",
        "config.yaml:6:18 server.listen: must be host:port, such as 127.0.0.1:4000 (0.0.0.0:4000 listens on every address)",
        "policies/default.yaml:3:10 policies[2].kind: no policy of this kind; did you mean 'retry'?",
        "policies/energy.yaml:1:11 is not YAML: expected the node content, but found '<stream end>'; check indentation,"
        " quotes and brackets near here",
    ]


def test_models_and_policies_are_checked_against_each_other(folder: Path) -> None:
    write(
        folder,
        {
            "config.yaml": "upstreams: {m: {via: mock}}\nmodels: {gpt-4o: {deployments: [{upstream: n}]}}\n",
            "policies/default.yaml": "- {kind: auth}\n- {kind: fallback, to: {gpt-4o: [gpt-5o]}}\n- {kind: retry}\n",
        },
    )
    assert problems() == [
        "config.yaml:2:44 models.gpt-4o.deployments[0].upstream: no upstream named 'n': use one of m",
        "policies/default.yaml:2:34 policies[1].fallback.to.gpt-4o[0]: no model named 'gpt-5o'; did you mean 'gpt-4o'?",
    ]


def test_a_key_whose_variable_is_not_set_is_one_problem(folder: Path) -> None:
    write(folder, {"config.yaml": "upstreams: {openai: {api_key: '${NOT_SET}'}}\n"})
    (problem,) = problems()
    assert problem.startswith("config.yaml:1:31 upstreams.openai.api_key: the environment variable NOT_SET is not set")


def test_a_class_that_nothing_prices_is_told_where_config_yaml_says_it(folder: Path) -> None:
    text = "upstreams: {m: {via: mock}}\nmodels:\n  m: {class: gold, deployments: [{upstream: m}]}\n"
    write(folder, {"config.yaml": text})
    assert problems() == [
        "config.yaml:3:14 models.m.class: the model is of class 'gold', which no action has a price for"
    ]


def test_a_directory_in_the_place_of_a_file_is_a_problem(folder: Path) -> None:
    (folder / "config.yaml").mkdir()
    assert problems() == ["config.yaml:1:1 is a directory: a file is needed here"]
    assert problems(Path("config.yaml")) == problems()
    (folder / "config.yaml").rmdir()
    (folder / "policies/default.yaml").mkdir(parents=True)
    assert problems() == ["policies/default.yaml:1:1 is a directory: a file is needed here"]


def test_a_chain_that_charges_nothing_is_hinted_at(folder: Path) -> None:
    write(folder, {"policies/default.yaml": "- {kind: auth}\n- {kind: retry}\n"})
    assert load(None, {}).hints == (FREE_HINT, NO_KEY_HINT)


def test_no_value_of_the_environment_is_in_any_problem(folder: Path) -> None:
    write(
        folder,
        {
            "config.yaml": (
                "store: ${A}\n"
                "durability: ${B}\n"
                "server: {listen: '${C}'}\n"
                "models: {m: {deployments: [{upstream: '${D}'}]}}\n"
                "upstreams: {o: {base_url: '${E}', api_key: '${F}'}}\n"
            ),
            "policies/default.yaml": "- {kind: auth}\n- {kind: retry, backoff_s: '${G}'}\n",
        },
    )
    found = problems(A="canary1", B="canary2", C="canary3", D="canary4", E="canary5", F="canary6\n", G="canary7")
    assert len(found) == 6
    assert "canary" not in "".join(found)


def test_an_unknown_upstream_from_the_environment_is_named_by_its_variable(folder: Path) -> None:
    write(
        folder,
        {
            "config.yaml": "upstreams: {m: {via: mock}}\nmodels: {x: {deployments: [{upstream: '${D}'}]}}\n",
            "policies/default.yaml": POLICIES,
        },
    )
    assert problems(D="canary") == [
        "config.yaml:2:39 models.x.deployments[0].upstream: no upstream named '${D}': use one of m"
    ]


def test_what_was_looked_at_is_known_after_a_refusal(folder: Path) -> None:
    write(folder, {"config.yaml": "policies: [", "policies/default.yaml": POLICIES})
    with pytest.raises(NotLoaded) as raised:
        load(None, {})
    assert raised.value.stamps[folder / "config.yaml"] is not None


def test_the_same_files_load_to_the_same_configuration(folder: Path) -> None:
    assert load(None, {}) == load(None, {})
