"""Translation: a request written for one model, said so that the model it is moved to accepts it.

What would make the target refuse the request is renamed or left out; everything else is kept as it is. What each family
refuses is the table ``_FAMILIES``, from OpenAI's API reference and the errors its models answer with ("Unsupported
parameter: 'stop' is not supported with this model."). A name that the table does not know is taken for a server that
speaks the classic parameters only. In short:

==================  =====================  ==================  ====================  ====================
family              cap on output          sampling, logprobs  reasoning_effort      developer messages
==================  =====================  ==================  ====================  ====================
o1, o3, o4-*        max_completion_tokens  left out            the nearest it knows  kept
gpt-5 and later     max_completion_tokens  left out            the nearest it knows  kept
gpt-5-chat          max_completion_tokens  kept                left out              kept
gpt-4o, 4.1, 4.5    max_tokens             kept                left out              kept
gpt-4, gpt-3.5      max_tokens             kept                left out              become system
any other           max_tokens             kept                left out              become system
==================  =====================  ==================  ====================  ====================

Models that reason take the default sampling only, so leaving it out loses nothing they would have taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from proxy.call import Body, Model

_CAPS = ("max_completion_tokens", "max_tokens")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")  # weakest first

_SAMPLING = frozenset(
    {"temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"}
)
_OPENAI_ONLY = frozenset({"service_tier", "store", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """Models that take the same parameters; ``efforts``: the reasoning_effort values they know."""

    names: re.Pattern[str]
    cap: Literal["max_completion_tokens", "max_tokens"] = "max_tokens"
    efforts: tuple[str, ...] = ()
    refuses: frozenset[str] = frozenset()
    developer: bool = True


_OTHER = _Family(
    names=re.compile(r""),
    refuses=_OPENAI_ONLY | {"prediction", "reasoning_effort", "verbosity"},
    developer=False,
)
_FAMILIES = (  # the first whose names match
    _Family(
        names=re.compile(r"o1\b"),
        cap="max_completion_tokens",
        efforts=("low", "medium", "high"),
        refuses=_SAMPLING | {"parallel_tool_calls", "prediction", "verbosity"},
    ),
    _Family(
        names=re.compile(r"o[3-9]\b"),
        cap="max_completion_tokens",
        efforts=("low", "medium", "high"),
        refuses=_SAMPLING | {"parallel_tool_calls", "prediction", "stop", "verbosity"},
    ),
    _Family(
        names=re.compile(r"gpt-5-chat\b"),
        cap="max_completion_tokens",
        refuses=frozenset({"prediction", "reasoning_effort", "verbosity"}),
    ),
    _Family(
        names=re.compile(r"gpt-5\.\d+-chat\b"),
        cap="max_completion_tokens",
        efforts=("medium",),
        refuses=_SAMPLING | {"prediction", "stop"},
    ),
    _Family(
        names=re.compile(r"gpt-5(-|$)"),
        cap="max_completion_tokens",
        efforts=("minimal", "low", "medium", "high"),
        refuses=_SAMPLING | {"prediction", "stop"},
    ),
    _Family(
        names=re.compile(r"gpt-5\.1\b"),
        cap="max_completion_tokens",
        efforts=("none", "low", "medium", "high"),
        refuses=_SAMPLING | {"prediction", "stop"},
    ),
    _Family(
        names=re.compile(r"gpt-5\.\d"),
        cap="max_completion_tokens",
        efforts=("none", "low", "medium", "high", "xhigh"),
        refuses=_SAMPLING | {"prediction", "stop"},
    ),
    _Family(
        names=re.compile(r"gpt-([6-9]|\d\d)"),
        cap="max_completion_tokens",
        efforts=("low", "medium", "high", "xhigh"),  # some know none too, not all
        refuses=_SAMPLING | {"prediction", "stop"},
    ),
    _Family(
        names=re.compile(r"chatgpt-4o|gpt-4o|gpt-4\.\d|gpt-audio"),
        refuses=frozenset({"reasoning_effort", "verbosity"}),
    ),
    _Family(
        names=re.compile(r"gpt-(4|3\.5)\b"),
        refuses=frozenset({"prediction", "reasoning_effort", "verbosity"}),
        developer=False,
    ),
)


def translate(body: Body, *, model: Model) -> dict[str, Any]:
    """A copy of ``body`` that ``model`` accepts; the body itself is never changed, its ``model`` field neither.

    The model's first deployment decides: narrow the model to the deployment that was picked.
    """
    family = _family(model)
    translated = {key: value for key, value in body.items() if key not in family.refuses}
    _rename_cap(translated, family, model.output_tokens_max)
    effort = translated.get("reasoning_effort")
    if isinstance(effort, str) and effort in _EFFORTS:
        translated["reasoning_effort"] = _nearest_effort(effort, family.efforts)
    if not family.developer and isinstance(translated.get("messages"), list):
        translated["messages"] = [_from_system(message) for message in translated["messages"]]
    return translated


def _family(model: Model) -> _Family:
    deployment = model.deployments[0] if model.deployments else None
    names = [deployment.model if deployment else model.name]
    if deployment and deployment.provider == "azure":
        names.append(model.name)  # there a deployment's name is the operator's choice
    bare = [name.rsplit("/", 1)[-1].lower().removeprefix("ft:") for name in names]
    return next((family for name in bare for family in _FAMILIES if family.names.match(name)), _OTHER)


def _rename_cap(body: dict[str, Any], family: _Family, tokens_max: int | None) -> None:
    """One cap under the family's name: the smallest of what was sent and what the model can."""
    sent = [body.pop(name, None) for name in _CAPS]
    caps = [cap for cap in sent if type(cap) is int]
    if not caps:
        return
    body[family.cap] = min(caps if tokens_max is None else [*caps, tokens_max])


def _nearest_effort(effort: str, known: tuple[str, ...]) -> str:
    if effort in known:
        return effort
    rank = _EFFORTS.index(effort)
    return min(known, key=lambda candidate: abs(_EFFORTS.index(candidate) - rank))


def _from_system(message: object) -> object:
    if isinstance(message, dict) and message.get("role") == "developer":
        return {**message, "role": "system"}
    return message
