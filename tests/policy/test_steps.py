"""What next: the rules of retry as a table. Times are seconds; the call began at 0 and may take 100."""

from __future__ import annotations

import pytest

from proxy.policy.steps import CALLS_MAX, Backoff, Board, Candidate, Failure, Move, Repeat, Step, next_step

BACKOFF = Backoff(attempts_max=3, base_s=1.0, max_s=30.0, limited_factor=4.0)
PASSING = Failure(repeatable=True)
FINAL = Failure(repeatable=False)
LIMITED = Failure(repeatable=True, limited=True)


def limited_until(again_at: float) -> Failure:
    return Failure(repeatable=True, limited=True, again_at=again_at)


def board(*candidates: Candidate, calls: int = 0, repeats: int = 0, now: float = 0.0) -> Board:
    return Board(candidates=candidates, calls=calls, repeats=repeats, now=now, deadline_at=100.0)


def a(untried: int = 0, asked_at: int = 0, failure: Failure | None = None) -> Candidate:
    return Candidate(model="a", untried=untried, asked_at=asked_at, failure=failure)


def b(untried: int = 0, asked_at: int = 0, failure: Failure | None = None) -> Candidate:
    return Candidate(model="b", untried=untried, asked_at=asked_at, failure=failure)


ROWS: list[tuple[str, Board, Step | None]] = [
    ("the asked model first", board(a(1), b(1)), Move(model="a")),
    ("its other deployments before other models", board(a(1, 1, PASSING), b(1), calls=1), Move(model="a")),
    ("then the next model, at once", board(a(0, 1, PASSING), b(1), calls=1), Move(model="b")),
    ("a model out of order is passed over", board(a(0), b(1)), Move(model="b")),
    ("a long Retry-After moves on at once", board(a(0, 1, limited_until(9)), b(1), calls=1), Move(model="b")),
    ("moves go beyond attempts_max", board(a(0, 3, PASSING), b(1), calls=5), Move(model="b")),
    ("but not beyond the hard limit", board(a(0, 3, PASSING), b(1), calls=CALLS_MAX), None),
    ("a dead model leaves its fallback a call", board(a(4, 7, PASSING), b(1), calls=7), Move(model="b")),
    ("with nobody behind it uses them all", board(a(4, 7, PASSING), calls=7), Move(model="a")),
    ("nor for one that had its call", board(a(1, 7, PASSING), b(1, 1, PASSING), calls=7), Move(model="a")),
    ("none untried: repeat after a wait", board(a(0, 1, PASSING), calls=1), Repeat(model="a", wait_s=0.5)),
    ("waits double", board(a(0, 2, PASSING), calls=2, repeats=1), Repeat(model="a", wait_s=1.0)),
    ("a rate limit waits longer", board(a(0, 1, LIMITED), calls=1), Repeat(model="a", wait_s=2.0)),
    ("Retry-After is obeyed", board(a(0, 1, limited_until(17)), calls=1, now=10.0), Repeat(model="a", wait_s=7.0)),
    (
        "one that has passed is no wait",
        board(a(0, 1, limited_until(3)), calls=1, now=9.0),
        Repeat(model="a", wait_s=2.0),
    ),
    ("a longer one than the deadline gives up", board(a(0, 1, limited_until(100)), calls=1), None),
    (
        "or takes another candidate",
        board(a(0, 1, limited_until(200)), b(0, 2, PASSING), calls=2),
        Repeat(model="b", wait_s=0.5),
    ),
    ("the soonest is repeated", board(a(0, 1, LIMITED), b(0, 2, PASSING), calls=2), Repeat(model="b", wait_s=0.5)),
    (
        "of equals the longest ago asked",
        board(a(0, 2, PASSING), b(0, 1, PASSING), calls=2),
        Repeat(model="b", wait_s=0.5),
    ),
    ("what will not pass is not repeated", board(a(0, 1, FINAL), calls=1), None),
    ("repeats end at attempts_max", board(a(0, 3, PASSING), calls=3, repeats=2), None),
    ("no time, no call", board(a(1), now=100.0), None),
    ("nothing healthy: the asked one is tried all the same", board(a(0), b(0)), Repeat(model="a", wait_s=0.0)),
    ("a model never asked is the last resort", board(a(0, 1, FINAL), b(0), calls=1), Repeat(model="b", wait_s=0.0)),
    ("repeats go before it", board(a(0, 1, PASSING), b(0), calls=1), Repeat(model="a", wait_s=0.5)),
    ("it comes when repeats are used up", board(a(0, 3, PASSING), b(0), calls=3), Repeat(model="b", wait_s=0.0)),
    ("nobody left", board(calls=1), None),
]


@pytest.mark.parametrize(("rule", "stands", "step"), ROWS, ids=[row[0] for row in ROWS])
def test_the_next_step(rule: str, stands: Board, step: Step | None) -> None:
    assert next_step(stands, BACKOFF, luck=0.5) == step


def test_waits_are_jittered_over_their_whole_range_and_capped() -> None:
    far = board(a(0, 2, PASSING), calls=2, repeats=60)
    assert next_step(far, BACKOFF, luck=0.0) == Repeat(model="a", wait_s=0.0)
    assert next_step(far, BACKOFF, luck=1.0) == Repeat(model="a", wait_s=30.0)
