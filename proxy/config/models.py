"""Models: what config.yaml and the catalog say of upstreams and models, made into the models that clients can name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from proxy.call import Deployment, Model, Operation
from proxy.config.addresses import checked_secret
from proxy.config.providers import (
    MOCK,
    MOCK_UPSTREAM,
    OTHER_NAMES,
    PROVIDERS,
    SELF_HOSTED,
    completed,
    discover,
    has_known_models,
    provider_of,
)
from proxy.config.settings import Config, ModelSettings, Price, UpstreamSettings
from proxy.config.tree import Location, Node, find, path_text, place_of, problem_at
from proxy.errors import Problem
from proxy.policy.naming import did_you_mean, listing
from proxy.route.catalog import Catalog, Facts

PICOUSD_PER_TOKEN = 10**6  # one USD per million tokens, in pico-dollars per token
MOCK_MODELS = ("gpt-4o", "gpt-4o-mini", "text-embedding-3-small")
NO_KEY_HINT = (
    "no provider key in the environment: serving the mock models; set OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY …"
    " for real ones"
)
UNKNOWN = Facts(operation=Operation.CHAT)


@dataclass(frozen=True, slots=True)
class Offer:
    """Upstreams with their defaults written out, the models that clients can name, and hints for the operator."""

    upstreams: Mapping[str, UpstreamSettings]
    models: Mapping[str, Model]
    hints: tuple[str, ...]


@dataclass(slots=True)
class Offering:
    """One load's way from settings to models. ``catalog`` is called only if something needs what it knows."""

    config: Config
    node: Node
    environ: Mapping[str, str]
    catalog: Callable[[], Catalog]
    problems: list[Problem]
    hints: list[str] = field(default_factory=list)

    def offer(self) -> Offer:
        upstreams = self._configured() if self.config.upstreams else self._discovered()
        models = self._listed(upstreams) if self.config.models else self._known(upstreams)
        return Offer(upstreams, models, tuple(self.hints))

    def _configured(self) -> dict[str, UpstreamSettings]:
        upstreams = {}
        for name, settings in self.config.upstreams.items():
            self._check_provider(name, settings)
            upstreams[name] = completed(settings, name=name, environ=self.environ)
            self._check_upstream(name, upstreams[name])
        return upstreams

    def _discovered(self) -> dict[str, UpstreamSettings]:
        wrong: list[Problem] = []
        found = discover(self.environ, wrong)
        self.problems += wrong
        if found or wrong:
            return found
        if not self.config.models:
            self.hints.append(NO_KEY_HINT)
        return {MOCK: MOCK_UPSTREAM}

    def _check_provider(self, name: str, settings: UpstreamSettings) -> None:
        provider = provider_of(settings, name)
        if settings.via is not None or provider in PROVIDERS or provider in SELF_HOSTED or provider == MOCK:
            return
        if self.catalog().names(provider):
            return
        meant = OTHER_NAMES.get(provider.lower())
        hint = f"; did you mean {meant!r}?" if meant else did_you_mean(provider, PROVIDERS)
        location: Location = ("upstreams", name, "provider") if settings.provider else ("upstreams", name)
        todo = (
            "say which with provider, or give its base_url" if not settings.provider else "say how to ask it with via"
        )
        self._note(location, f"no provider named {provider!r} is known{hint or ''}; {todo}")

    def _check_upstream(self, name: str, upstream: UpstreamSettings) -> None:
        known = PROVIDERS.get(upstream.provider or "")
        location = ("upstreams", name)
        if upstream.via == "passthrough" and upstream.base_url is None:
            self._note(location, "has no base_url: give the server's OpenAI-compatible URL, up to and with /v1")
        elif (
            known
            and known.variables
            and upstream.via != "mock"
            and upstream.api_key is None
            and self._at_home(name, upstream)
            and not find(self.node, (*location, "api_key")).refused
        ):
            self._note(location, f"has no api_key: set {known.variables[0]}, or write api_key")
        if upstream.api_key is not None:
            try:
                checked_secret(upstream.api_key.get_secret_value())
            except ValueError as error:
                self._note(location, f"the key in the environment {error}")

    def _at_home(self, name: str, upstream: UpstreamSettings) -> bool:
        return self.config.upstreams[name].base_url is None and not upstream.headers

    def _listed(self, upstreams: Mapping[str, UpstreamSettings]) -> dict[str, Model]:
        models = {}
        for name, settings in self.config.models.items():
            deployments = []
            for at, there in enumerate(settings.deployments):
                upstream = upstreams.get(there.upstream)
                if upstream is None:
                    self._unknown_upstream(("models", name, "deployments", at, "upstream"), there.upstream, upstreams)
                    continue
                deployments.append(
                    Deployment(upstream=there.upstream, provider=upstream.provider or "", model=there.model or name)
                )
            models[name] = self._listed_model(name, settings, tuple(deployments))
        return models

    def _unknown_upstream(self, location: Location, name: str, upstreams: Mapping[str, UpstreamSettings]) -> None:
        hint = did_you_mean(name, upstreams)
        if not hint and not self.config.upstreams and name in PROVIDERS:
            hint = f": set {PROVIDERS[name].variables[0]}, or describe it under upstreams"
        self._note(location, f"no upstream named {name!r}{hint or f': use one of {listing(upstreams)}'}")

    def _listed_model(self, name: str, settings: ModelSettings, deployments: tuple[Deployment, ...]) -> Model:
        facts = UNKNOWN if _needs_no_facts(settings) else self._facts(deployments)
        input_picousd, output_picousd, cached_input_picousd = _prices(settings.price, facts)
        return Model(
            name=name,
            deployments=deployments,
            class_=settings.class_,
            operation=Operation(settings.operation or facts.operation),
            input_picousd=input_picousd,
            output_picousd=output_picousd,
            cached_input_picousd=cached_input_picousd,
            input_tokens_max=settings.input_tokens_max or facts.input_tokens_max,
            output_tokens_max=settings.output_tokens_max or facts.output_tokens_max,
            lacks=facts.lacks if settings.lacks is None else frozenset(settings.lacks),
        )

    def _known(self, upstreams: Mapping[str, UpstreamSettings]) -> dict[str, Model]:
        """The models the catalog knows of each upstream's provider, under their own name and as ``upstream/name``.

        A name that two providers offer belongs to the first; two upstreams of one provider are its deployments.
        """
        places: dict[str, list[Deployment]] = {}
        for upstream, settings in upstreams.items():
            for model in self._names(upstream, settings):
                there = Deployment(upstream=upstream, provider=settings.provider or "", model=model)
                same_name = places.setdefault(model, [])
                if all(other.provider == there.provider for other in same_name):
                    same_name.append(there)
                places.setdefault(f"{upstream}/{model}", []).append(there)
        return {name: self._known_model(name, tuple(deployments)) for name, deployments in places.items()}

    def _names(self, upstream: str, settings: UpstreamSettings) -> tuple[str, ...]:
        if settings.via == "mock":
            return MOCK_MODELS
        configured = self.config.upstreams.get(upstream)
        if configured is not None and not has_known_models(configured, upstream):
            self._note(("upstreams", upstream), "what this server offers is not known: list its models under models")
            return ()
        names = self.catalog().names(settings.provider or "")
        if not names and configured is not None:
            self._note(("upstreams", upstream), f"no models of {settings.provider} are known: list them under models")
        elif not names:
            self.hints.append(f"no models of {upstream} are known: list those you use under models in config.yaml")
        return names

    def _known_model(self, name: str, deployments: tuple[Deployment, ...]) -> Model:
        facts = self._facts(deployments)
        return Model(
            name=name,
            deployments=deployments,
            operation=facts.operation,
            input_picousd=facts.input_picousd,
            output_picousd=facts.output_picousd,
            cached_input_picousd=facts.cached_input_picousd,
            input_tokens_max=facts.input_tokens_max,
            output_tokens_max=facts.output_tokens_max,
            lacks=facts.lacks,
        )

    def _facts(self, deployments: tuple[Deployment, ...]) -> Facts:
        """What is known of the first deployment that anything is known of."""
        for there in deployments:
            facts = (
                _mock_facts(there.model)
                if there.provider == MOCK
                else self.catalog().facts(there.provider, there.model)
            )
            if facts is not None:
                return facts
        return UNKNOWN

    def _note(self, location: Location, message: str) -> None:
        self.problems.append(problem_at(place_of(self.node, location), path_text(location), message))


def _mock_facts(model: str) -> Facts:
    """The mock costs nothing; what it does follows from the name, so that no catalog is read for it."""
    operation = Operation.EMBEDDINGS if "embed" in model else Operation.CHAT
    return Facts(operation=operation, input_picousd=0, output_picousd=0, cached_input_picousd=0)


def _needs_no_facts(settings: ModelSettings) -> bool:
    given = (settings.operation, settings.price, settings.lacks, settings.input_tokens_max, settings.output_tokens_max)
    return None not in given


def _prices(price: Price | None, facts: Facts) -> tuple[int | None, int | None, int | None]:
    if price is None:
        return facts.input_picousd, facts.output_picousd, facts.cached_input_picousd
    cached_input = price.input if price.cached_input is None else price.cached_input
    return (
        int(price.input * PICOUSD_PER_TOKEN),
        int(price.output * PICOUSD_PER_TOKEN),
        int(cached_input * PICOUSD_PER_TOKEN),
    )
