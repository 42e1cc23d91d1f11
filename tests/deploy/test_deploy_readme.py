"""deploy/README.md: it names every file to deploy with, its links lead somewhere, its uses of ``orch`` exist."""

from __future__ import annotations

import re

from tests.docs_reading import LINK, ROOT, broken_links, coded, rows
from tests.test_docs import wrong_commands

PAGE = ROOT / "deploy/README.md"
TEXT = PAGE.read_text()


def test_links_lead_somewhere() -> None:
    links = LINK.findall(TEXT)
    assert links
    assert [link for link in broken_links(PAGE, TEXT) if not (PAGE.parent / link).is_dir()] == []


def test_every_kind_of_deployment_is_in_the_table() -> None:
    named = {link for row in rows(TEXT, "file | what") for link in LINK.findall(row[0])}
    there = {
        str(file.relative_to(PAGE.parent))
        for name in ("docker", "k8s", "systemd")
        for file in (PAGE.parent / name).glob("*")
    }
    assert named == there | {"../Dockerfile", "compose.yaml", "helm/orch"}


def test_uses_of_orch_exist() -> None:
    used = re.findall(r"(?<=orch )(orch (?:users|keys) .*)|(?<=-- )(orch .*)", TEXT)
    commands = "".join(f"{one or other}\n" for one, other in used)
    assert commands.count("\n") == 4
    assert wrong_commands(commands + "".join(f"`{code}`" for code in coded(TEXT) if code.startswith("orch "))) == []
