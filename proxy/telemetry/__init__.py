"""Telemetry: what an operator sees of the running proxy. Nothing here decides anything about a call.

::

    port.py         what the edge tells (a call ended, was refused) and asks (the text of /metrics)
    metrics.py      counters and histograms of calls, made of what the books say of each
    state.py        gauges read when somebody looks: the store, open holds, breakers, the disk
    exposition.py   the text of /metrics, written in a thread and kept for a moment
    audit.py        the books checked now and then
    traceparent.py  W3C trace context: read, and the ids of our spans
    otel.py         spans and GenAI metrics to an OTLP collector; an extra, imported only where one is configured
    logs.py         every line of every library through one formatter, with its request and without secrets
    calllog.py      one line per call, where that is wanted

No label and no span carries a user, a key, an account or a prompt.
"""
