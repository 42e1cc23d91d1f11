"""The one place that imports LiteLLM: guards before, switches after, and what of it must be told not to ask twice.

Importing costs about 3 s of CPU and 170 MB, so it happens only when a route needs it, in a thread while the loop answers.
LiteLLM is one per process, whatever we do; so is the ``Library`` here.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any, NoReturn
from weakref import WeakSet

from proxy.errors import UpstreamRefused

# 1.82.7 and 1.82.8 carried malware; so did 1.107.0, of whose line none is trusted.
VERSIONS_REFUSED = ("1.82.7", "1.82.8", "1.107.")

# Read while LiteLLM is imported: no network, no .env from the working directory, no log lines with request bodies.
ENVIRONMENT = MappingProxyType(
    {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
        "LITELLM_LOCAL_BLOG_POSTS": "True",
        "LITELLM_LOG": "ERROR",
    }
)

# Set once imported. A token counter would guess usage that no provider sent; URLs in messages may not reach private hosts.
SWITCHES = MappingProxyType(
    {
        "suppress_debug_info": True,
        "telemetry": False,
        "disable_hf_tokenizer_download": True,
        "disable_token_counter": True,
        "user_url_validation": True,
        "num_retries": None,
        "drop_params": False,
        "modify_params": False,
        "cache": None,
        "model_fallbacks": None,
    }
)
CALLBACK_LISTS = ("callbacks", "input_callback", "success_callback", "failure_callback", "service_callback")

SWITCH_S = sys.getswitchinterval()
SWITCH_WHILE_IMPORTING_S = 0.0005  # the loop's thread gets the GIL back ten times as often as by default
GC_THRESHOLDS = (50_000, 50, 100)  # with LiteLLM's objects frozen: p99 of a call 338 ms -> 21 ms


@dataclass(frozen=True, slots=True)
class Library:
    """LiteLLM, imported and set up; ``users`` are the upstreams that still send through it."""

    litellm: Any
    timeout: Any
    users: WeakSet[Any] = field(default_factory=WeakSet)

    async def close(self) -> None:
        """Close LiteLLM's clients and forget them: it would go on using closed ones."""
        await self.litellm.close_litellm_async_clients()
        self.litellm.in_memory_llm_clients_cache.flush_cache()
        # Used by Gemini's streams; made at first use, and again if there is a use after this.
        shared = vars(self.litellm).get("module_level_aclient")
        if shared is not None:
            await shared.close()


async def load_library() -> Library:
    """LiteLLM, importing it first where that was not done yet. Raises UpstreamRefused where it is missing or unsafe."""
    return await asyncio.to_thread(_imported)


def check_version() -> None:
    """Refuse a LiteLLM that is missing or known to carry malware, before a line of it runs."""
    try:
        installed = version("litellm")
    except PackageNotFoundError:
        raise UpstreamRefused(
            "LiteLLM is not installed: pip install litellm==1.106.2", reason="litellm_missing"
        ) from None
    if any(
        installed == refused or (refused[-1] == "." and installed.startswith(refused)) for refused in VERSIONS_REFUSED
    ):
        message = f"LiteLLM {installed} is known to carry malware and is not loaded: pip install litellm==1.106.2"
        raise UpstreamRefused(message, reason="litellm_unsafe")


@cache
def _imported() -> Library:
    check_version()
    os.environ.update(ENVIRONMENT)
    sys.setswitchinterval(SWITCH_WHILE_IMPORTING_S)
    gc.disable()  # or collections over ever more modules hold up the loop for 150 ms a time
    try:
        litellm = import_module("litellm")
        _set_up(litellm)
    finally:
        sys.setswitchinterval(SWITCH_S)
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()
    return Library(litellm, import_module("httpx").Timeout)


def _set_up(litellm: Any) -> None:
    for name, value in SWITCHES.items():
        setattr(litellm, name, value)
    for name in CALLBACK_LISTS:
        setattr(litellm, name, [])
    _mend()
    # Their schemas are built at first use, a tenth of a second each: not in the first call.
    litellm.ModelResponse()
    litellm.ModelResponseStream()


def _mend() -> None:
    """Replace what would ask twice, make things up, or work after a call for callbacks that there are none of."""
    handler = import_module("litellm.llms.custom_httpx.http_handler").AsyncHTTPHandler
    handler.single_connection_post_request = _ask_no_second_time
    gemini = import_module("litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini").VertexGeminiConfig
    gemini._create_streaming_choice = staticmethod(_finishing_honestly(gemini._create_streaming_choice))
    # Tasks that outlive their call, a worker that outlives its loop, and a few hundred µs a call for nobody.
    setattr(import_module("litellm.utils"), "_dispatch_success_logging", _log_nothing)  # noqa: B010  (mypy)
    log = import_module("litellm.litellm_core_utils.litellm_logging").Logging
    log.failure_handler = _log_nothing
    for name in ("async_failure_handler", "dispatch_failure_handlers", "dispatch_success_handlers"):
        setattr(log, name, _log_nothing_later)


def _log_nothing(*_: Any, **__: Any) -> None:
    pass


async def _log_nothing_later(*_: Any, **__: Any) -> None:
    pass


async def _ask_no_second_time(*_: Any, **__: Any) -> NoReturn:
    """In place of LiteLLM's hidden second POST after a connection was reset: let the error that asks for it go on.

    The provider may have received the first one; whoever owns attempts decides whether there is another.
    """
    raise  # (called while the connection's error is being handled)


def _finishing_honestly(create: Callable[..., Any]) -> Callable[..., Any]:
    """In place of LiteLLM's maker of Gemini's streamed choices, which says "stop" in every chunk that gives no reason.

    With that a stream that was cut could not be told from one that ended.
    """

    def made(chat_completion_message: Any, candidate: Any, *args: Any, **kwargs: Any) -> Any:
        choice = create(chat_completion_message, candidate, *args, **kwargs)
        if not candidate.get("finishReason"):
            choice.finish_reason = None
        return choice

    return made
