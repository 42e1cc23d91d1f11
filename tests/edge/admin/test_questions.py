"""The shapes of questions: their defaults, and that they know what the listings know."""

from __future__ import annotations

from typing import get_args

from proxy.edge.admin.questions import PAGE_MAX, Group, ListUsers
from proxy.journal.listing import GROUPS, PAGE_ROWS_MAX


def test_usage_can_be_counted_by_whatever_the_ledger_can() -> None:
    assert get_args(Group) == GROUPS


def test_a_page_and_the_row_after_it_can_be_read_at_once() -> None:
    assert PAGE_MAX + 1 <= PAGE_ROWS_MAX


def test_numbers_are_taken_from_text_and_as_they_are() -> None:
    assert ListUsers.model_validate({"limit": "7"}).limit == ListUsers(limit=7).limit == 7
    assert ListUsers().limit == 50
