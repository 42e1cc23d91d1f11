"""The proxy of the tests is the real one: on a socket, with the SDK in front of it."""

from __future__ import annotations

from pathlib import Path

from proxy.testing.running import running


async def test_a_proxy_on_the_mock_answers_the_sdk(tmp_path: Path, store: Path) -> None:
    async with running(tmp_path, config="store: sqlite:///orch.db\n") as proxy:
        async with proxy.sdk(await proxy.user_key("ana", energy=25)) as client:
            answer = await client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}]
            )

    assert "hello" in (answer.choices[0].message.content or "")
