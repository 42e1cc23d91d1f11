"""The desk: answers what ``/admin`` asks, with the operations of the journal. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol, TypeVar

from proxy import __version__
from proxy.call import Account, Opening
from proxy.edge.admin import answers, questions
from proxy.edge.gateway import Gateway
from proxy.edge.headers import usd
from proxy.edge.shown import call_fields
from proxy.errors import BadRequest, JournalUnavailable, NotFound
from proxy.journal.admin import (
    CreateUser,
    DirectAdmin,
    GivePoints,
    KeyFacts,
    ListKeys,
    ReadBalance,
    RevokeKey,
    UserBalance,
)
from proxy.journal.listing import CallFilter, GrantRow, Listings, UsageRow
from proxy.journal.operations import AskReload, ErasedUser, EraseUser, Reloaded, RotateKey
from proxy.keys import DEFAULT_NAMESPACE, NewKey

_Row = TypeVar("_Row")


class Books(Listings, Protocol):
    """What the desk reads of the store."""

    async def call(self, call_id: str) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The operations over one proxy."""

    gateway: Gateway
    admin: DirectAdmin
    books: Books

    # --- users --------------------------------------------------------------------------------------------------------

    async def users(self, asked: questions.ListUsers) -> answers.UserPage:
        rows, more = _page(
            await self.books.users(asked.namespace, after=asked.after, limit=asked.limit + 1), asked.limit
        )
        shown = tuple(
            answers.UserListed(
                namespace=row.namespace,
                user=row.user,
                plan=row.plan,
                balance=row.balance,
                held=row.held,
                available=row.available,
                created_at=row.created_at,
            )
            for row in rows
        )
        return answers.UserPage(data=shown, next=rows[-1].account if more else None)

    async def open_user(self, asked: questions.OpenUser) -> answers.UserOpened:
        opening = self._opening(asked.plan, asked.points)
        opened = await self.admin.ensure_user(
            CreateUser(user=asked.user, namespace=asked.namespace, plan=opening.plan, points=opening.points)
        )
        return answers.UserOpened(**_user(opened.user), created=opened.created)

    async def show_user(self, asked: questions.OneUser) -> answers.UserDetail:
        account = Account(asked.namespace, asked.user)
        found = await self.admin.balance(ReadBalance(user=asked.user, namespace=asked.namespace))
        grants = [_grant(row) for row in await self.books.grants(account.id) if row.closed_at is None]
        return answers.UserDetail(**_user(found), grants=tuple(grants))

    async def grant(self, asked: GivePoints) -> answers.UserShown:
        return answers.UserShown(**_user(await self.admin.grant(asked)))

    async def history(self, asked: questions.ReadHistory) -> answers.EntryPage:
        account = Account(asked.namespace, asked.user)
        await self.admin.balance(ReadBalance(user=asked.user, namespace=asked.namespace))  # or there is no such user
        found = await self.books.entries(account.id, before=asked.before, limit=asked.limit + 1)
        rows, more = _page(found, asked.limit)
        names = answers.EntryShown.model_fields
        shown = tuple(answers.EntryShown(**{name: getattr(row, name) for name in names}) for row in rows)
        return answers.EntryPage(data=shown, next=rows[-1].seq if more else None)

    async def erase_user(self, asked: EraseUser) -> ErasedUser:
        return await self.admin.erase_user(asked)

    def _opening(self, plan: str | None, points: int | None) -> Opening:
        prices = self.gateway.live.version.prices
        if prices is None:
            return Opening(plan or "free", points or 0)
        return prices.opening(plan, points)

    # --- keys ---------------------------------------------------------------------------------------------------------

    async def keys(self, asked: ListKeys) -> answers.KeyListing:
        found = (await self.admin.list_keys(asked)).keys
        return answers.KeyListing(data=tuple(answers.KeyShown(**_key(facts)) for facts in found))

    async def make_key(self, asked: NewKey) -> answers.KeyMade:
        made = await self.admin.create_key(asked)
        return answers.KeyMade(**_key(made.facts), key=made.key)

    async def revoke_key(self, asked: RevokeKey) -> answers.KeyGone:
        return answers.KeyGone(id=(await self.admin.revoke_key(asked)).key_id)

    async def rotate_key(self, asked: RotateKey) -> answers.KeyMade:
        made = await self.admin.rotate_key(asked)
        return answers.KeyMade(**_key(made.facts), key=made.key)

    # --- calls, reports, health ---------------------------------------------------------------------------------------

    async def calls(self, asked: questions.ListCalls) -> answers.CallPage:
        if asked.before is not None and asked.after is not None:
            raise BadRequest("Name before or after, not both.", param="after")
        found = await self.books.calls(_wanted(asked), before=asked.before, after=asked.after, limit=asked.limit + 1)
        rows, more = _page(found, asked.limit)
        last = rows[-1]["id"] if rows else asked.after
        follows = more or asked.after is not None
        return answers.CallPage(data=tuple(_call(row) for row in rows), next=last if follows else None)

    async def show_call(self, asked: questions.OneCall) -> answers.CallRecord:
        row = await self.books.call(asked.id)
        if row is None:
            raise NotFound(f"No call {asked.id[:100]!r}.", reason="call_not_found", param="id")
        return _call(row)

    async def usage(self, asked: questions.ReportUsage) -> answers.UsageReport:
        found = await self.books.usage(asked.by, since_ms=asked.since, until_ms=asked.until, namespace=asked.namespace)
        return answers.UsageReport(data=tuple(_usage(row) for row in found))

    async def reload(self, asked: questions.Nothing) -> Reloaded:
        return await self.admin.reload(AskReload())

    async def health(self, asked: questions.Nothing) -> answers.Health:
        """Always an answer: whoever only wants to know whether calls can be taken asks /readyz."""
        try:
            books = answers.TotalsShown(**asdict(await self.books.totals()))
        except JournalUnavailable:
            books = None
        writes = await self.gateway.ready()
        return answers.Health(
            status="ok" if writes and books is not None else "store unavailable",
            version=__version__,
            policy=self.gateway.live.version.ports.policy_version,
            calls_running=self.gateway.serving.running,
            books=books,
        )


def _page(found: Sequence[_Row], limit: int) -> tuple[Sequence[_Row], bool]:
    """The page, and whether there is another: one row more than a page was asked for."""
    return found[:limit], len(found) > limit


def _user(found: UserBalance) -> dict[str, Any]:
    return found.model_dump()


def _grant(row: GrantRow) -> answers.GrantShown:
    return answers.GrantShown(**{name: getattr(row, name) for name in answers.GrantShown.model_fields})


def _key(facts: KeyFacts) -> dict[str, Any]:
    return facts.model_dump()


def _wanted(asked: questions.ListCalls) -> CallFilter:
    namespace = asked.namespace or (DEFAULT_NAMESPACE if asked.user is not None else None)
    return CallFilter(
        account=Account(namespace, asked.user).id if namespace is not None and asked.user is not None else None,
        namespace=namespace if asked.user is None else None,
        key_id=asked.key,
        model=asked.model,
        action=asked.action,
        state=asked.state,
        how=asked.how,
        error=asked.error,
        since_ms=asked.since,
        until_ms=asked.until,
    )


def _call(row: Mapping[str, Any]) -> answers.CallRecord:
    return answers.CallRecord.model_validate({**call_fields(row, answers.CallRecord), "stream": bool(row["stream"])})


def _usage(row: UsageRow) -> answers.UsageShown:
    figures = {
        field.name: getattr(row, field.name) for field in fields(row) if field.name not in ("key", "cost_nanousd")
    }
    return answers.UsageShown(key=dict(row.key), cost_usd=usd(row.cost_nanousd), **figures)
