"""Without prices every call is still recorded, for nothing."""

from __future__ import annotations

from proxy.call import Ending, How, Offer
from proxy.chain import chain
from proxy.policy.unpriced import Unpriced, free
from proxy.testing import NullJournal, fake_call, fake_ports
from tests.policy.policy_parts import End


async def test_a_call_is_recorded_with_one_offer_of_nothing() -> None:
    journal, end = NullJournal(), End()
    await chain([Unpriced()], end)(fake_call(ports=fake_ports(journal=journal)))
    assert journal.offers == [(Offer(model="gpt-4o", points=0),)]
    assert end.asked == ["gpt-4o"]
    assert end.calls[0].hold is not None


def test_it_charges_nothing_however_the_call_ends() -> None:
    assert {free(Ending(how, "gpt-4o")) for how in How} == {0}
