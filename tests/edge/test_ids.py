"""Call ids."""

from __future__ import annotations

import uuid

from proxy.edge.ids import uuid7


def test_ids_are_uuids_of_version_7_that_differ() -> None:
    made = [uuid7() for _ in range(1000)]

    assert len(set(made)) == 1000
    assert {(uuid.UUID(one).version, uuid.UUID(one).variant) for one in made} == {(7, uuid.RFC_4122)}


def test_ids_begin_with_the_time_so_that_they_sort_by_it() -> None:
    first, second = uuid7(), uuid7()

    assert first[:13] <= second[:13]
