"""The error tree: its reasons, and what may follow each."""

from __future__ import annotations

from proxy import errors
from proxy.errors import ConfigError, EnergyExhausted, Problem


def test_an_energy_refusal_says_the_figures_as_the_guide_does() -> None:
    assert EnergyExhausted(required=10, available=5).message == "Insufficient energy. Required: 10, Available: 5"


def test_every_problem_of_a_configuration_is_told_at_once_with_its_place() -> None:
    problems = [
        Problem("config.yaml", 14, 9, "policies[2].to", "no model named 'gpt-5o'; did you mean 'gpt-4o'?"),
        Problem("energy.yaml", 1, 1, "", "the file is empty"),
    ]

    assert str(ConfigError(problems)) == (
        "config.yaml:14:9 policies[2].to: no model named 'gpt-5o'; did you mean 'gpt-4o'?\n"
        "energy.yaml:1:1 the file is empty"
    )


def test_nothing_follows_an_answer_that_broke_off_or_a_request_that_is_wrong() -> None:
    assert not errors.UpstreamBroke.movable
    assert not errors.UpstreamRejected.movable


def test_a_deployment_that_will_not_is_left_for_good_and_one_that_cannot_may_be_asked_again() -> None:
    assert (errors.UpstreamRefused.movable, errors.UpstreamRefused.repeatable) == (True, False)
    for kind in (errors.UpstreamLimited, errors.UpstreamUnavailable, errors.UpstreamTimeout):
        assert (kind.movable, kind.repeatable) == (True, True)


def test_every_kind_of_error_has_a_reason_of_its_own() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.OrchError)]
    reasons = [kind.reason for kind in kinds if kind not in (errors.CallerError,) and kind is not errors.BadRequest]

    assert len(set(reasons)) == len(reasons)
