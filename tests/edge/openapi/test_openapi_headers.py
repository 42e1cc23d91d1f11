"""Response headers in the document are those of the documentation."""

from __future__ import annotations

from proxy.edge.openapi.headers import ERROR_HEADERS, HEADERS, REQUEST_ID
from tests.docs_reading import ROOT, coded, rows

BY_STANDARD = {"retry-after", "www-authenticate"}
OF_STREAMS = {"x-accel-buffering"}


def test_the_headers_are_those_that_are_documented() -> None:
    documented = {coded(row[0])[0] for row in rows((ROOT / "docs/api.md").read_text(), "header | on")}

    assert set(HEADERS) == documented - OF_STREAMS | BY_STANDARD
    assert {name for names in (REQUEST_ID, *ERROR_HEADERS.values()) for name in names} <= set(HEADERS)
