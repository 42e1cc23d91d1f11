"""So many rows as were asked for, page by page."""

from __future__ import annotations

import pytest

from proxy.cli import paging
from proxy.cli.paging import Found, Page, paged

ROWS = range(1, 11)


async def after(last: int | None, limit: int) -> Page[int]:
    found = [row for row in ROWS if row > (last or 0)][:limit]
    return Page(found, found[-1] if found else None)


@pytest.mark.parametrize("size", [1, 3, 10, 1000])
async def test_every_row_comes_once_whatever_a_page_holds(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(paging, "PAGE_ROWS_MAX", size)
    assert (await paged(after, None)).rows == list(ROWS)
    found = await paged(after, 7)
    assert (found.rows, found.more) == (list(range(1, 8)), 7)


async def test_where_nothing_is_behind_nothing_is_promised() -> None:
    assert (await paged(after, 10)).more is None
    assert (await paged(after, 3, after=8)) == Found([9, 10], None)
    assert (await paged(after, 3, after=10)) == Found([], None)


def test_a_cut_list_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    Found([1], None).tell_more("--after")
    assert capsys.readouterr() == ("", "")
    Found([1], "app/ana").tell_more("--after")
    assert capsys.readouterr() == ("", "There are more: --after app/ana\n")
