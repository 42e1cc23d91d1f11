"""What of a client's request goes to LiteLLM: OpenAI's parameters, by an allow-list, and nothing that is LiteLLM's own.

LiteLLM takes ``api_base``, ``api_key``, ``extra_headers``, ``model_list``, ``mock_response`` … as ordinary keyword
arguments beside OpenAI's, so whatever is not on the list is dropped; ``metadata`` is, as LiteLLM's means something else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from proxy.call import Body, Operation
from proxy.dialect.body import decode, dump
from proxy.errors import UpstreamRejected
from proxy.upstream.providers import display_of

OUTPUT_TOKENS_DEFAULT = 16_384  # for Claude, which must be told; LiteLLM would say the model's limit, up to 64,000

CHAT_PARAMETERS = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "modalities",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)
EMBEDDING_PARAMETERS = frozenset({"dimensions", "input", "user"})  # encoding_format is done on our side

# What a provider may not know without the answer meaning something else. The rest is refused, never silently lost.
DROPPABLE = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "seed",
        "service_tier",
        "store",
        "temperature",
        "top_p",
        "user",
        "verbosity",
    }
)
NEUTRAL: Mapping[str, Any] = MappingProxyType(
    {
        "n": 1,
        "logprobs": False,
        "top_logprobs": 0,
        "modalities": ["text"],
        "response_format": {"type": "text"},
        "tools": [],
        "functions": [],
        "stop": [],
    }
)


def openai_arguments(body: Body, operation: Operation) -> dict[str, Any]:
    """A copy of the parameters on the list that are set. LiteLLM rewrites messages and tools in place; the call's stay."""
    wanted = EMBEDDING_PARAMETERS if operation is Operation.EMBEDDINGS else CHAT_PARAMETERS
    view = {name: value for name, value in body.items() if name in wanted and value is not None}
    copied: dict[str, Any] = decode(dump(view))
    return copied


def fitted(arguments: Mapping[str, Any], supported: Collection[str], provider: str) -> dict[str, Any]:
    """The arguments a provider with a protocol of its own can be given: without what it does not know.

    Raises UpstreamRejected where leaving one out would change what the answer means.
    """
    unknown = {name for name in arguments if name not in supported and name not in ("messages", "input")}
    missing = sorted(name for name in unknown - DROPPABLE if NEUTRAL.get(name) != arguments[name])
    if missing:
        message = f"{display_of(provider)} does not support '{missing[0]}' through LiteLLM. Leave it out, or name another model."
        detail: dict[str, object] = {
            "message": message,
            "type": "invalid_request_error",
            "param": missing[0],
            "code": "unsupported_parameter",
        }
        raise UpstreamRejected(message, status=400, detail=detail)
    return {name: value for name, value in arguments.items() if name not in unknown}


def with_output_cap(arguments: dict[str, Any], model_output_tokens_max: object) -> dict[str, Any]:
    """Claude's ``max_tokens``, where the client gave none: OUTPUT_TOKENS_DEFAULT, or the model's limit if that is less."""
    if "max_tokens" in arguments or "max_completion_tokens" in arguments:
        return arguments
    limit = model_output_tokens_max if isinstance(model_output_tokens_max, int) else OUTPUT_TOKENS_DEFAULT
    return {**arguments, "max_tokens": min(limit, OUTPUT_TOKENS_DEFAULT)}
