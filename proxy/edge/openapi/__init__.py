"""``/openapi.json``: the whole HTTP interface as OpenAPI 3.1, made from what serves it.

``described.py`` says of each rule of ``access.py`` what it takes and gives, ``bodies.py`` what calls take (the shapes of everything
else are pydantic models), ``document.py`` puts the document together, ``serving.py`` answers it.
"""
