"""The edge: HTTP in and HTTP out. The only place that makes statuses and SSE of things.

``asgi.py`` guards and routes, ``receive.py`` reads a body under its caps, ``identify.py`` finds who calls and who pays,
``build.py`` makes the Call, ``serve.py`` runs it beside its watcher, ``reply.py`` lets the answer out and withholds its tail,
``errors.py`` is the one table from errors to bytes, ``reads.py`` answers what only reads.
"""
