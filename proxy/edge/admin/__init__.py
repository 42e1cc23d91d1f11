"""``/admin``: what an application's back end does for its users, over HTTP with an admin key.

An operation is a POST with a JSON body, a read is a GET with a query. A user's id is never a part of a path: it may hold slashes,
dots and whatever, and every proxy in between has its own idea of ``%2F`` and ``..``.

``asking.py`` makes a question of a request, ``questions.py`` and ``answers.py`` are their shapes, ``desk.py`` answers them,
``operations.py`` is the table of all of it, which ``/openapi.json`` is made from.
"""
