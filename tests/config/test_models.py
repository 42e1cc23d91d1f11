"""Models: settings and catalog made into what clients can name."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
import pytest

from proxy.call import Deployment, Model, Operation
from proxy.config.models import MOCK_MODELS, NO_KEY_HINT, Offer, Offering
from proxy.config.positions import read_yaml
from proxy.config.settings import Config
from proxy.config.tree import plain
from proxy.errors import Problem
from proxy.route.catalog import Catalog

MAP = {
    "gpt-4o": {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 2.5e-06,
        "output_cost_per_token": 1e-05,
        "cache_read_input_token_cost": 1.25e-06,
        "max_input_tokens": 128000,
        "max_output_tokens": 16384,
        "supports_function_calling": False,
        "supports_vision": True,
    },
    "text-embedding-3-small": {
        "litellm_provider": "openai",
        "mode": "embedding",
        "input_cost_per_token": 2e-08,
        "max_input_tokens": 8191,
    },
    "claude-x": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 3e-06},
    "groq/gpt-4o": {"litellm_provider": "groq", "mode": "chat", "input_cost_per_token": 1e-06},
    "groq/openai/gpt-oss": {"litellm_provider": "groq", "mode": "chat", "input_cost_per_token": 1e-07},
}


@dataclass
class Reads:
    """The catalog of a small map, and how often it was asked for."""

    catalog: Catalog
    count: int = 0

    def __call__(self) -> Catalog:
        self.count += 1
        return self.catalog


@dataclass
class Found:
    offer: Offer
    problems: list[str] = field(default_factory=list)
    reads: int = 0

    @property
    def models(self) -> Mapping[str, Model]:
        return self.offer.models


@pytest.fixture
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    path = tmp_path_factory.mktemp("catalog") / "map.json"
    path.write_bytes(orjson.dumps(MAP))
    return Catalog.read(path)


def offer(catalog: Catalog, text: str, **environ: str) -> Found:
    node = read_yaml(text or "{}", "c.yaml", [])
    assert node is not None
    problems: list[Problem] = []
    reads = Reads(catalog)
    made = Offering(Config.model_validate(plain(node)), node, environ, reads, problems).offer()
    return Found(made, [str(problem) for problem in problems], reads.count)


def test_without_any_key_the_mock_models_are_served_and_a_hint_says_so(catalog: Catalog) -> None:
    found = offer(catalog, "")
    assert found.problems == []
    assert found.offer.hints == (NO_KEY_HINT,)
    assert {name for name in found.models if "/" not in name} == set(MOCK_MODELS)
    assert found.models["gpt-4o"].deployments == (Deployment(upstream="mock", provider="mock", model="gpt-4o"),)
    assert found.models["gpt-4o"].input_picousd == 0
    assert found.models["text-embedding-3-small"].operation is Operation.EMBEDDINGS
    assert found.offer.upstreams["mock"].via == "mock"
    assert found.reads == 0


def test_a_key_in_the_environment_offers_the_providers_models_under_both_names(catalog: Catalog) -> None:
    found = offer(catalog, "", OPENAI_API_KEY="o")
    assert found.offer.hints == ()
    assert set(found.models) == {"gpt-4o", "openai/gpt-4o", "text-embedding-3-small", "openai/text-embedding-3-small"}
    there = (Deployment(upstream="openai", provider="openai", model="gpt-4o"),)
    assert found.models["openai/gpt-4o"].deployments == found.models["gpt-4o"].deployments == there
    assert found.models["gpt-4o"] == Model(
        name="gpt-4o",
        deployments=there,
        input_picousd=2_500_000,
        output_picousd=10_000_000,
        cached_input_picousd=1_250_000,
        input_tokens_max=128_000,
        output_tokens_max=16_384,
        lacks=frozenset({"audio", "tools"}),
    )


def test_a_name_that_two_providers_offer_belongs_to_the_first(catalog: Catalog) -> None:
    found = offer(catalog, "", GROQ_API_KEY="g", OPENAI_API_KEY="o")
    assert [there.upstream for there in found.models["gpt-4o"].deployments] == ["openai"]
    assert [there.upstream for there in found.models["groq/gpt-4o"].deployments] == ["groq"]
    assert found.models["groq/gpt-4o"].input_picousd == 1_000_000
    assert [there.model for there in found.models["openai/gpt-oss"].deployments] == ["openai/gpt-oss"]
    assert [there.model for there in found.models["groq/openai/gpt-oss"].deployments] == ["openai/gpt-oss"]


def test_two_upstreams_of_one_provider_are_two_places_of_each_model(catalog: Catalog) -> None:
    text = "upstreams: {one: {provider: openai, api_key: a}, two: {provider: openai, api_key: b}}"
    found = offer(catalog, text)
    assert found.problems == []
    assert [there.id for there in found.models["gpt-4o"].deployments] == ["one/gpt-4o", "two/gpt-4o"]
    assert [there.id for there in found.models["two/gpt-4o"].deployments] == ["two/gpt-4o"]


def test_a_provider_whose_models_nobody_knows_is_hinted_at(catalog: Catalog) -> None:
    found = offer(catalog, "", OPENROUTER_API_KEY="r")
    assert found.models == {}
    assert found.offer.hints == ("no models of openrouter are known: list those you use under models in config.yaml",)


def test_settings_win_over_the_catalog(catalog: Catalog) -> None:
    text = """
upstreams: {o: {provider: openai, api_key: k}}
models:
  best:
    class: premium
    deployments: [{upstream: o, model: gpt-4o}]
    price: {input: 0.15, output: 0.6}
    lacks: []
    input_tokens_max: 1000
  gpt-4o: {deployments: [{upstream: o}]}
  vectors: {deployments: [{upstream: o, model: text-embedding-3-small}]}
  unknown: {deployments: [{upstream: o}]}
"""
    found = offer(catalog, text)
    assert found.problems == []
    assert found.models["best"] == Model(
        name="best",
        deployments=(Deployment(upstream="o", provider="openai", model="gpt-4o"),),
        class_="premium",
        input_picousd=150_000,
        output_picousd=600_000,
        cached_input_picousd=150_000,
        input_tokens_max=1000,
        output_tokens_max=16_384,
    )
    assert found.models["gpt-4o"].input_picousd == 2_500_000
    assert found.models["vectors"].operation is Operation.EMBEDDINGS
    assert found.models["unknown"].input_picousd is None
    assert found.models["unknown"].operation is Operation.CHAT


@pytest.mark.parametrize(
    ("usd", "picousd"), [("0.1", 100_000), ("0.000001", 1), ("15", 15_000_000), ("2.675", 2_675_000)]
)
def test_a_price_is_exact(catalog: Catalog, usd: str, picousd: int) -> None:
    text = f"""
upstreams: {{m: {{via: mock}}}}
models: {{x: {{deployments: [{{upstream: m}}], price: {{input: {usd}, output: {usd}, cached_input: {usd}}}}}}}
"""
    model = offer(catalog, text).models["x"]
    assert (model.input_picousd, model.output_picousd, model.cached_input_picousd) == (picousd, picousd, picousd)


def test_the_catalog_is_not_read_where_nothing_needs_it(catalog: Catalog) -> None:
    text = """
upstreams: {o: {provider: openai, api_key: k}, m: {via: mock}}
models:
  a:
    deployments: [{upstream: o}]
    operation: chat
    price: {input: 1}
    lacks: [tools]
    input_tokens_max: 10
    output_tokens_max: 10
  b: {deployments: [{upstream: m}]}
"""
    assert offer(catalog, text).reads == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "upstreams: {main: {via: mock}}\nmodels: {m: {deployments: [{upstream: mian}]}}",
            "c.yaml:2:39 models.m.deployments[0].upstream: no upstream named 'mian'; did you mean 'main'?",
        ),
        (
            "upstreams: {main: {via: mock}}\nmodels: {m: {deployments: [{upstream: xyz}]}}",
            "c.yaml:2:39 models.m.deployments[0].upstream: no upstream named 'xyz': use one of main",
        ),
        (
            "models: {m: {deployments: [{upstream: openai}]}}",
            "c.yaml:1:39 models.m.deployments[0].upstream: no upstream named 'openai': set OPENAI_API_KEY, or describe it"
            " under upstreams",
        ),
        (
            "upstreams: {local: {base_url: 'http://127.0.0.1:8000/v1'}}",
            "c.yaml:1:13 upstreams.local: what this server offers is not known: list its models under models",
        ),
        (
            "upstreams: {r: {provider: openrouter, api_key: k}}",
            "c.yaml:1:13 upstreams.r: no models of openrouter are known: list them under models",
        ),
        (
            "upstreams: {openai: {}}",
            "c.yaml:1:13 upstreams.openai: has no api_key: set OPENAI_API_KEY, or write api_key",
        ),
        (
            "upstreams: {claude: {}}\nmodels: {m: {deployments: [{upstream: claude}]}}",
            "c.yaml:1:13 upstreams.claude: no provider named 'claude' is known; did you mean 'anthropic'?; say which with"
            " provider, or give its base_url",
        ),
        (
            "upstreams: {a: {provider: antropic}}\nmodels: {m: {deployments: [{upstream: a}]}}",
            "c.yaml:1:27 upstreams.a.provider: no provider named 'antropic' is known; did you mean 'anthropic'?; say how to"
            " ask it with via",
        ),
        (
            "upstreams: {v: {provider: hosted_vllm}}\nmodels: {m: {deployments: [{upstream: v}]}}",
            "c.yaml:1:13 upstreams.v: has no base_url: give the server's OpenAI-compatible URL, up to and with /v1",
        ),
    ],
)
def test_what_cannot_work_is_told_at_its_place(catalog: Catalog, text: str, problem: str) -> None:
    assert offer(catalog, text).problems == [problem]


def test_a_key_of_the_environment_that_no_header_holds_is_told_without_it(catalog: Catalog) -> None:
    found = offer(catalog, "upstreams: {openai: {}}", OPENAI_API_KEY="canary\nx")
    (problem,) = found.problems
    assert problem.startswith("c.yaml:1:13 upstreams.openai: the key in the environment contains line breaks")
    assert "canary" not in problem


def test_a_gateway_of_ones_own_may_be_asked_without_a_key(catalog: Catalog) -> None:
    text = "upstreams: {g: {base_url: 'http://a/v1'}}\nmodels: {gpt-4o: {deployments: [{upstream: g}]}}"
    found = offer(catalog, text, OPENAI_API_KEY="canary")
    assert found.problems == []
    assert found.offer.upstreams["g"].api_key is None
