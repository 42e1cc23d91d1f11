"""The terminal handler: one attempt at one deployment, its answer counted, its end written into the trace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from proxy.call import CANCELLED, Attempt, Call, Chunk, Cut, Deployment, Head, Model, Outcome, Part, Routes, Usage
from proxy.config.settings import Limits
from proxy.dialect.answer import Answer, NotAnAnswer, Progress, read_answer, without_empty_reasons
from proxy.dialect.request import choices
from proxy.dialect.sse import payload
from proxy.dialect.translate import translate
from proxy.dialect.usage import estimate_input_tokens, estimate_tokens
from proxy.errors import UpstreamBroke, UpstreamError, UpstreamRefused, UpstreamUnavailable
from proxy.upstream.classify import ANSWER_TOO_LARGE, classify_object, error_object
from proxy.upstream.gate import Gate
from proxy.upstream.port import NO_HEADERS, Upstream, UpstreamRequest
from proxy.upstream.providers import display_of

TAIL_WAIT_S = 5.0  # a complete answer waits this long for its usage and [DONE], then it is over
END_WAIT_S = 0.25  # after [DONE] this long for the end of the body, so that the connection can be kept

ADAPTER_FAILED = "adapter_failed"  # an adapter raised something that is not an UpstreamError: a defect of ours


Headers = Callable[[Call], Mapping[str, str]]
"""What the request of the attempt that is about to begin carries beside its body: nothing, or its place in a trace."""


def no_headers(call: Call) -> Mapping[str, str]:
    return NO_HEADERS


class Terminal:
    """Answers a call by asking one deployment of ``call.model`` once; raises UpstreamError where that came to nothing."""

    def __init__(self, upstreams: Mapping[str, Upstream], limits: Limits, headers: Headers = no_headers) -> None:
        self._upstreams = upstreams
        self._limits = limits
        self._headers = headers

    async def __call__(self, call: Call) -> Outcome:
        model = call.ports.routes.models[call.model]
        deployment = choose(model, call.ports.routes, call.trace.attempts)
        upstream = self._upstreams[deployment.upstream]
        request = request_for(call, deployment, upstream, self._headers(call))
        answering = (
            Streamed(call, deployment, upstream.secrets)
            if call.stream
            else Whole(call, deployment, upstream.secrets, self._limits.answer_bytes_max)
        )
        with _Attempting(call, deployment, answering):
            return await answering.ask(upstream, request)


def choose(model: Model, routes: Routes, attempts: Sequence[Attempt]) -> Deployment:
    """Where to ask next: untried and healthy first, else the repeatable one tried longest ago, else any that is left.

    With every door closed and none tried the first is asked anyway: it may have opened (fail open).
    """
    untried = routes.untried(model.name, attempts)
    if untried:
        return untried[0]
    last = {attempt.deployment.id: place for place, attempt in enumerate(attempts)}
    again = [place for place in sorted(last.values()) if attempts[place].repeatable]
    known = {deployment.id: deployment for deployment in model.deployments}
    repeats = [known[attempts[place].deployment.id] for place in again if attempts[place].deployment.id in known]
    left = [deployment for deployment in model.deployments if deployment.id not in last]
    return next(iter([*repeats, *left]), model.deployments[0])


def request_for(
    call: Call, deployment: Deployment, upstream: Upstream, headers: Mapping[str, str] = NO_HEADERS
) -> UpstreamRequest:
    """What is sent: the client's body under the upstream's name of the model, translated if the call was moved."""
    moved = call.model != call.requested_model
    model = call.ports.routes.models[call.model]
    body = translate(call.body, model=replace(model, deployments=(deployment,))) if moved else dict(call.body)
    body["model"] = deployment.model
    if call.stream:
        body = _with_stream_options(body, upstream)
    return UpstreamRequest(
        call_id=call.id,
        operation=call.operation,
        model=deployment.model,
        body=body,
        stream=call.stream,
        headers=headers,
    )


def _with_stream_options(body: dict[str, Any], upstream: Upstream) -> dict[str, Any]:
    """Ask for usage where the upstream takes that; where it does not, ask for nothing."""
    given = body.pop("stream_options", None)
    options = dict(given) if isinstance(given, Mapping) else {}
    if not upstream.stream_usage:
        options.pop("include_usage", None)
        return {**body, "stream_options": options} if options else body
    return {**body, "stream_options": {**options, "include_usage": True}}


def cost_nanousd(model: Model, usage: Usage) -> int | None:
    """What the provider charges, in nano-dollars, rounded half up once; None when a price that it needs is unknown.

    Cached input without a price of its own costs as input.
    """
    cached = min(usage.cached_input_tokens, usage.input_tokens)
    cached_picousd = model.input_picousd if model.cached_input_picousd is None else model.cached_input_picousd
    total = 0
    for tokens, picousd in (
        (usage.input_tokens - cached, model.input_picousd),
        (cached, cached_picousd),
        (usage.output_tokens, model.output_picousd),
    ):
        if tokens and picousd is None:
            return None
        total += tokens * (picousd or 0)
    return (total + 500) // 1000


class Answering:
    """The answer of one attempt as it comes, through a gate of its own."""

    def __init__(self, call: Call, deployment: Deployment, secrets: tuple[str, ...]) -> None:
        head = Head(model=call.model, deployment=deployment, downgraded_from=call.downgraded_from)
        self.gate = Gate(call.reply, head, call.trace)
        self.complete = False
        self._call = call
        self._deployment = deployment
        self._secrets = secrets
        self._display = display_of(deployment.provider)
        self._tail = asyncio.timeout(None)

    async def ask(self, upstream: Upstream, request: UpstreamRequest) -> Outcome:
        """Send the request, take the answer. A failure after the answer was complete is none."""
        try:
            async with self._tail:
                await upstream.send(request, self.take)
        except TimeoutError:
            if not self._tail.expired():
                raise
        except UpstreamError as error:
            if not self.complete:
                self._fail(error)
        if not self.complete:
            self._fail(UpstreamUnavailable(f"{self._display} ended its answer before it was complete"))
        return self.outcome()

    async def take(self, raw: bytes) -> None:
        raise NotImplementedError

    def counted(self) -> tuple[Usage | None, int, tuple[str, ...]]:
        """What is known of the answer so far: the usage sent, the characters of output, the finish reasons."""
        raise NotImplementedError

    def outcome(self) -> Outcome:
        """The answer so far, with its usage as sent, else estimated."""
        usage, output_chars, finish_reasons = self.counted()
        if usage is None:
            output_tokens = estimate_tokens(output_chars)
            input_tokens = estimate_input_tokens(self._call.body)
            usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, estimated=True)
        return Outcome(
            model=self._call.model,
            deployment=self._deployment,
            usage=usage,
            cost_nanousd=cost_nanousd(self._call.ports.routes.models[self._call.model], usage),
            finish_reasons=finish_reasons,
        )

    def _completed(self) -> None:
        """All that was asked for has gone into the reply; whatever happens next, the call is answered."""
        self.complete = True
        self._call.trace.outcome = self.outcome()

    def _said(self, error: Mapping[str, Any]) -> UpstreamError:
        """What an error object in place of an answer means, without the upstream's secrets."""
        return classify_object(error, provider=self._deployment.provider, secrets=self._secrets)

    def _over_within(self, seconds: float) -> None:
        self._tail.reschedule(asyncio.get_running_loop().time() + seconds)

    def _fail(self, error: UpstreamError) -> None:
        if not self.gate.started:
            raise error
        broke = f"The answer broke off: {error.message}"
        raise UpstreamBroke(broke, status=error.status, detail=error.detail) from error


class Streamed(Answering):
    """Events of a stream, handed on byte by byte."""

    def __init__(self, call: Call, deployment: Deployment, secrets: tuple[str, ...]) -> None:
        super().__init__(call, deployment, secrets)
        self._progress = Progress(choices(call.body))
        self._done = False

    async def take(self, raw: bytes) -> None:
        sent = payload(raw)
        if self._done or (sent is not None and not sent.strip()):
            return  # nothing is said after [DONE], nor by an event with empty data: SDKs would fail on it
        part = Part.PRELUDE if sent is None else self._part(sent)
        if part is not Part.USAGE or self._call.usage_wanted:
            await self.gate.send(Chunk(without_empty_reasons(raw), part))
        if part is Part.DONE and not self.gate.started:
            raise UpstreamUnavailable(f"{self._display} ended its answer without any content")
        if self._progress.complete and sent is not None:
            self._settle(part)

    def counted(self) -> tuple[Usage | None, int, tuple[str, ...]]:
        return self._progress.usage, self._progress.output_chars, self._progress.finish_reasons

    def _part(self, sent: bytes) -> Part:
        try:
            part = self._progress.feed(sent)
        except NotAnAnswer as error:
            raise UpstreamUnavailable(f"{self._display} sent an event that is not part of an answer: {error}") from None
        if self._progress.error is not None:
            raise self._said(self._progress.error)
        return part

    def _settle(self, part: Part) -> None:
        if not self.complete:
            self._over_within(TAIL_WAIT_S)
        self._completed()
        if part is Part.DONE:
            self._done = True
            self._over_within(END_WAIT_S)


class Whole(Answering):
    """One JSON body."""

    def __init__(self, call: Call, deployment: Deployment, secrets: tuple[str, ...], answer_bytes_max: int) -> None:
        super().__init__(call, deployment, secrets)
        self._answer_bytes_max = answer_bytes_max
        self._answer: Answer | None = None

    async def take(self, raw: bytes) -> None:
        if self._answer is not None:
            return
        if len(raw) > self._answer_bytes_max:
            message = (
                f"{self._display} sent an answer of more than {self._answer_bytes_max} bytes (limits.answer_bytes_max)"
            )
            raise UpstreamRefused(message, status=200, reason=ANSWER_TOO_LARGE)
        try:
            self._answer = read_answer(raw, self._call.operation)
        except NotAnAnswer as error:
            raise self._not_an_answer(raw, error) from None
        await self.gate.send(Chunk(raw, Part.BODY))
        self._completed()
        self._over_within(END_WAIT_S)

    def counted(self) -> tuple[Usage | None, int, tuple[str, ...]]:
        if self._answer is None:
            return None, 0, ()
        return self._answer.usage, self._answer.output_chars, self._answer.finish_reasons

    def _not_an_answer(self, raw: bytes, why: NotAnAnswer) -> UpstreamError:
        error = why.error or error_object(raw)
        if error is not None:
            return self._said(error)
        return UpstreamUnavailable(f"{self._display} sent something that is not an answer: {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fate:
    """How an attempt ended, as its record says it."""

    status: int | None = None
    error: str | None = None
    retry_after_s: float | None = None
    repeatable: bool = True


class _Attempting:
    """Keeps one attempt in the trace: it stands there when we dial, and however it ends, its end is written and told."""

    def __init__(self, call: Call, deployment: Deployment, answering: Answering) -> None:
        self._call = call
        self._answering = answering
        self._place = len(call.trace.attempts)
        begun = Attempt(model=call.model, deployment=deployment, started_at=time.monotonic())
        call.trace.attempts.append(begun)
        call.ports.routes.report(begun)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        attempts, fate = self._call.trace.attempts, self._fate(error)
        attempts[self._place] = replace(
            attempts[self._place],
            ended_at=time.monotonic(),
            first_content_at=self._answering.gate.started_at,
            status=fate.status,
            error=fate.error,
            retry_after_s=fate.retry_after_s,
            repeatable=fate.repeatable,
        )
        if self._answering.gate.started and not self._answering.complete:
            self._call.trace.partial = self._answering.outcome()
        self._call.ports.routes.report(attempts[self._place])

    def _fate(self, error: BaseException | None) -> _Fate:
        if isinstance(error, UpstreamError):
            return _Fate(
                status=error.status,
                error=error.reason,
                retry_after_s=error.retry_after_s,
                repeatable=error.repeatable,
            )
        if isinstance(error, Exception):
            return _Fate(error=ADAPTER_FAILED, repeatable=False)
        if self._answering.complete:
            return _Fate(status=200)
        return _Fate(error=_why(self._call.reply.cut))


def _why(cut: Cut | None) -> str:
    return CANCELLED if cut is None else cut.value
