"""Any bytes at all: a configuration is loaded or refused with problems; nothing else comes out, and no secret."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config import NotLoaded, load
from proxy.errors import Problem

CONFIG = """\
store: sqlite:///data/orch.db
upstreams:
  main: {base_url: "http://127.0.0.1:1/v1", api_key: "${KEY}", headers: {x-team: "os.environ/KEY"}}
  mock: {via: mock}
models:
  gpt-4o: {class: premium, deployments: [{upstream: main}], price: {input: 2.5, output: 10}}
  gpt-4o-mini: {class: economy, deployments: [{upstream: mock, model: m}], lacks: [vision], operation: chat}
limits: {calls_max: 10, call_s: 1.5}
"""
CHAIN = """\
- {kind: auth, models: [gpt-4o]}
- {kind: rewrite, alias: {smart: gpt-4o}}
- kind: energy
  prices:
    actions: {ai_message: {premium: 10, economy: 3, n_max: 2}}
    default_action: ai_message
    default_class: premium
    plans: {free: {grant: 25}}
    default_plan: free
- {kind: fallback, to: {gpt-4o: [gpt-4o-mini]}}
- {kind: retry, attempts_max: 3}
- {kind: timeout, idle_s: 30}
"""
PIECES = (
    "",
    " ",
    "\n",
    "\t",
    ":",
    ": ",
    ", ",
    "{",
    "}",
    "[",
    "]",
    "- ",
    "'",
    '"',
    "#",
    "*a",
    "&a ",
    "!!x ",
    "<<",
    "---\n",
    "|\n",
)
VALUES = (
    "~",
    "no",
    "true",
    "-1",
    "0",
    "012",
    "1:30",
    "1e999",
    "1.5",
    "{}",
    "[]",
    "x",
    "${KEY}",
    "${GONE}",
    "${",
    "é",
    "\x00",
)
ENVIRON = {"KEY": "sk-canary-1"}


@st.composite
def spoiled(draw: st.DrawFn, text: str) -> bytes:
    """The text with some of its pieces replaced by others."""
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 12))
        text = text[:start] + draw(st.sampled_from(PIECES + VALUES)) + text[end:]
    return text.encode()


def refusal(config: Path) -> tuple[Problem, ...]:
    try:
        load(config, ENVIRON)
    except NotLoaded as error:
        return error.problems
    return ()


@settings(max_examples=100, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=spoiled(CONFIG) | st.binary(max_size=50), chain=spoiled(CHAIN) | st.binary(max_size=50))
def test_any_files_are_loaded_or_refused(tmp_path: Path, config: bytes, chain: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(config)
    (tmp_path / "policies").mkdir(exist_ok=True)
    (tmp_path / "policies/default.yaml").write_bytes(chain)
    for problem in refusal(tmp_path / "config.yaml"):
        assert problem.message
        assert problem.line >= 1
        assert "canary" not in str(problem)


def test_the_files_that_are_spoiled_are_good(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/default.yaml").write_text(CHAIN)
    assert refusal(tmp_path / "config.yaml") == ()
