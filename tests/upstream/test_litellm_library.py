"""Importing LiteLLM: only when asked, behind its guards, never a version that carried malware."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.errors import UpstreamRefused
from proxy.upstream import litellm_library
from proxy.upstream.litellm_library import check_version, load_library
from tests.upstream.litellm_route import QUIET

pytestmark = pytest.mark.filterwarnings(*QUIET)


def test_the_adapter_is_imported_without_litellm() -> None:
    code = "import sys; import proxy.upstream.litellm; print([m for m in ('litellm', 'openai', 'httpx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


async def test_litellm_is_imported_behind_its_guards() -> None:
    library = await load_library()
    litellm = library.litellm
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    assert os.environ["LITELLM_MODE"] == "PRODUCTION"
    assert Path(os.environ["TIKTOKEN_CACHE_DIR"]).is_dir()
    assert (litellm.suppress_debug_info, litellm.telemetry, litellm.num_retries) == (True, False, None)
    assert litellm.disable_hf_tokenizer_download is True
    assert litellm.user_url_validation is True
    # LiteLLM puts "cache" there by itself; there is no cache.
    assert {callback for name in litellm_library.CALLBACK_LISTS for callback in getattr(litellm, name)} <= {"cache"}
    assert litellm.cache is None
    assert gc.isenabled()
    assert gc.get_threshold() == litellm_library.GC_THRESHOLDS
    assert sys.getswitchinterval() == litellm_library.SWITCH_S


async def test_loading_twice_gives_the_same_library() -> None:
    first, second = await asyncio.gather(load_library(), load_library())
    assert first is second
    assert first is await load_library()


@pytest.mark.parametrize("version", ["1.82.7", "1.82.8", "1.107.0", "1.107.3"])
def test_a_version_that_carried_malware_is_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm_library, "version", lambda _: version)
    with pytest.raises(UpstreamRefused, match=version) as caught:
        check_version()
    assert caught.value.reason == "litellm_unsafe"


@pytest.mark.parametrize("version", ["1.106.2", "1.82.6", "1.82.70", "1.1070.0"])
def test_other_versions_are_not(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm_library, "version", lambda _: version)
    check_version()
