"""Policies files: kinds, includes, checks against the models, versions."""

from pathlib import Path

import pytest

from proxy.call import Deployment, Model
from proxy.config.environment import Environment
from proxy.config.files import Files
from proxy.config.policies import Chain, kinds, read_chain
from proxy.config.tree import Node, Place
from proxy.errors import Problem
from proxy.policy import Energy, Retry

PRICES = """\
actions: {ai_message: {premium: 10, economy: 3}}
default_action: ai_message
default_class: premium
classes: {economy: ["*-mini"]}
downgrade: {premium: [gpt-4o-mini]}
plans: {free: {grant: 25}}
default_plan: free
"""
CHAIN = """\
- {kind: auth}
- {kind: energy, prices: energy.yaml}
- {kind: fallback, to: {gpt-4o: [gpt-4o-mini]}}
- {kind: retry}
"""
MODELS = {
    name: Model(name=name, deployments=(Deployment(upstream="m", provider="mock", model=name),))
    for name in ("gpt-4o", "gpt-4o-mini")
}


def read(folder: Path, chain: str = CHAIN, prices: str | None = PRICES) -> tuple[Chain | None, list[str]]:
    """The chain and its problems, file names without their folder."""
    (folder / "default.yaml").write_text(chain)
    if prices is not None:
        (folder / "energy.yaml").write_text(prices)
    problems: list[Problem] = []
    found = read_chain(folder / "default.yaml", Files(Environment({"ALIAS": "smart"}), problems))
    if found and not problems:
        found.check(MODELS, Node(Place("config.yaml", 1, 1), {}), problems)
    return found, [str(problem).replace(f"{folder}/", "") for problem in problems]


def test_a_chain_is_read_with_the_files_it_includes(tmp_path: Path) -> None:
    chain, problems = read(tmp_path)
    assert problems == []
    assert chain is not None
    assert [policy.kind for policy in chain.policies if policy] == ["auth", "energy", "fallback", "retry"]
    energy = chain.policies[1]
    assert isinstance(energy, Energy)
    assert energy.prices.plans["free"].grant == 25
    assert isinstance(chain.policies[3], Retry)
    assert dict(chain.texts) == {"default.yaml": CHAIN, "energy.yaml": PRICES}


def test_prices_may_stand_in_the_chain_itself(tmp_path: Path) -> None:
    inline = CHAIN.replace("energy.yaml", "{" + PRICES.strip().replace("\n", ", ") + "}")
    chain, problems = read(tmp_path, inline, None)
    assert problems == []
    assert chain is not None
    assert dict(chain.texts) == {"default.yaml": inline}


def version(folder: Path, chain: str = CHAIN, prices: str = PRICES) -> tuple[str, str | None]:
    found, problems = read(folder, chain, prices)
    assert problems == []
    assert found is not None
    return found.version, found.price_version


def test_the_version_is_twelve_digits_of_the_content(tmp_path: Path) -> None:
    policies, prices = version(tmp_path)
    assert len(policies) == 12
    assert int(policies, 16) >= 0
    assert prices is not None
    assert len(prices) == 12
    assert version(tmp_path) == (policies, prices)


def test_comments_and_spacing_do_not_change_the_version(tmp_path: Path) -> None:
    assert version(tmp_path) == version(tmp_path, "# ours\n" + CHAIN.replace("{kind", "{  kind"), PRICES + "# end\n")


def test_a_price_changes_both_versions_and_a_policy_only_the_chains(tmp_path: Path) -> None:
    policies, prices = version(tmp_path)
    dearer = version(tmp_path, prices=PRICES.replace("premium: 10", "premium: 11"))
    patient = version(tmp_path, CHAIN.replace("{kind: retry}", "{kind: retry, backoff_s: 2}"))
    assert dearer[0] != policies
    assert dearer[1] != prices
    assert patient[0] != policies
    assert patient[1] == prices


def test_a_chain_without_prices_has_no_price_version(tmp_path: Path) -> None:
    assert version(tmp_path, "- {kind: auth}\n- {kind: retry}\n")[1] is None


def test_the_order_of_globs_is_part_of_the_version(tmp_path: Path) -> None:
    plain = PRICES.replace("downgrade: {premium: [gpt-4o-mini]}\n", "")
    one = plain.replace('{economy: ["*-mini"]}', '{economy: ["*-mini"], premium: ["gpt*"]}')
    other = plain.replace('{economy: ["*-mini"]}', '{premium: ["gpt*"], economy: ["*-mini"]}')
    assert version(tmp_path, prices=one) != version(tmp_path, prices=other)


@pytest.mark.parametrize(
    ("chain", "problem"),
    [
        (
            "kind: auth",
            "default.yaml:1:1 policies: must be a list of policies, outermost first, each written - {kind: …}",
        ),
        ("", "default.yaml:1:1 policies: must be a list of policies, outermost first, each written - {kind: …}"),
        ("- auth", "default.yaml:1:3 policies[0]: must be a mapping with a kind, written {kind: retry, …}"),
        (
            "- {kind: auth}\n- {kind: retyr}",
            "default.yaml:2:10 policies[1].kind: no policy of this kind; did you mean 'retry'?",
        ),
        (
            "- {kind: zzz}",
            "default.yaml:1:10 policies[0].kind: no policy of this kind: use one of auth, energy, fallback, retry, rewrite,"
            " timeout",
        ),
        (
            "- {kind: [auth]}",
            "default.yaml:1:4 policies[0].kind: no policy of this kind: use one of auth, energy, fallback, retry, rewrite,"
            " timeout",
        ),
        (
            "- {prices: x}",
            "default.yaml:1:3 policies[0]: has no kind: add one of auth, energy, fallback, retry, rewrite, timeout",
        ),
        (
            "- {kind: auth}\n- {kind: retry, bakoff_s: 1}",
            "default.yaml:2:17 policies[1].retry.bakoff_s: unknown key; did you mean 'backoff_s'?",
        ),
        (
            "- {kind: auth}\n- {kind: retry, attempts_max: 99}",
            "default.yaml:2:31 policies[1].retry.attempts_max: must be at most 8, not 99",
        ),
        ("- {kind: energy}", "default.yaml:1:3 policies[0].energy.prices: is missing: add it"),
        (
            "- {kind: energy, prices: enegry.yaml}",
            "default.yaml:1:26 policies[0].prices: no file 'enegry.yaml' beside the policies: correct the path",
        ),
        (
            "- {kind: auth}\n- {kind: fallback, to: {gpt-4o: [gpt-4o-mni]}}\n- {kind: retry}",
            "default.yaml:2:34 policies[1].fallback.to.gpt-4o[0]: no model named 'gpt-4o-mni'; did you mean 'gpt-4o-mini'?",
        ),
        (
            "- {kind: auth}\n- {kind: rewrite, alias: {smart: gpt-5o}}",
            "default.yaml:2:34 policies[1].rewrite.alias.smart: no model named 'gpt-5o'; did you mean 'gpt-4o'?",
        ),
    ],
)
def test_what_is_wrong_in_the_chain_is_told_at_its_place(tmp_path: Path, chain: str, problem: str) -> None:
    assert read(tmp_path, chain)[1] == [problem]


def test_an_order_that_cannot_work_is_told_at_the_policy(tmp_path: Path) -> None:
    _, problems = read(tmp_path, "- {kind: auth}\n- {kind: retry}\n- {kind: fallback, to: {gpt-4o: [gpt-4o-mini]}}\n")
    assert problems == [
        "default.yaml:3:3 policies[2].fallback: fallback must stand before retry (fallback only names the models, retry asks"
        " them): move fallback up"
    ]


def test_an_empty_chain_is_told_at_the_file(tmp_path: Path) -> None:
    _, problems = read(tmp_path, "[]")
    assert problems == [
        "default.yaml:1:1 policies: the chain has no auth policy: add `- {kind: auth}` as its first entry"
    ]


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        (
            "premium: 10",
            "premium: ten",
            "energy.yaml:1:33 policies[1].energy.prices.actions.ai_message.premium: must be a whole number, not 'ten'",
        ),
        (
            "default_action: ai_message",
            "default_action: ai_mesage",
            "energy.yaml:2:17 policies[1].energy.prices.default_action: no action named 'ai_mesage'; did you mean"
            " 'ai_message'?",
        ),
        (
            "default_plan: free",
            "defaut_plan: free",
            "energy.yaml:7:1 policies[1].energy.prices.defaut_plan: unknown key; did you mean 'default_plan'?",
        ),
        (
            "grant: 25",
            "grant: 025",
            "energy.yaml:6:23 plans.free.grant: a number with a leading zero is octal to some: quote it, or drop the zero",
        ),
        (
            "grant: 25",
            "grant: true",
            "energy.yaml:6:23 policies[1].energy.prices.plans.free.grant: must be a whole number, not true",
        ),
    ],
)
def test_what_is_wrong_in_an_included_file_is_told_there(tmp_path: Path, before: str, after: str, problem: str) -> None:
    assert problem in read(tmp_path, prices=PRICES.replace(before, after))[1]


def test_every_kind_is_known_by_its_name() -> None:
    assert set(kinds()) == {"auth", "rewrite", "energy", "fallback", "retry", "timeout"}
    assert kinds()["retry"] is Retry
