"""AI Orchestrator: an OpenAI-compatible proxy that gives every end user an exact energy balance.

The folders follow the way of a call::

    edge/       HTTP in: authenticate, parse, build a Call; HTTP out: the only place that makes statuses and SSE of things
    chain.py    the policies in YAML order, outermost first
    policy/     auth, rewrite, energy, fallback, retry, timeout: one file each
    route/      model name -> deployments, the health of each, the budget of repeats
    upstream/   the terminal handler: passthrough (OpenAI-compatible), litellm (every other provider), mock
    journal/    ledger and records: reserve, then settle or void, exactly once

Around it: ``call.py`` (the nouns), ``errors.py`` (what can go wrong), ``keys.py`` (who calls), ``app.py`` (the composition
root), ``server.py`` (the process around it), ``config/`` (YAML to live policies), ``dialect/`` (pure: SSE framing, JSON, usage,
the API's shapes), ``telemetry/`` (what is told of calls), ``cli/`` (the command ``orch``) and ``testing/`` (public fakes and the
scripted upstream).

Imports point one way, ``edge -> chain -> policy -> call <- ports``; ``tests/test_house.py`` checks it.
"""

__version__ = "0.1.0"
