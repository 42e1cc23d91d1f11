"""Dialect: the OpenAI API as bytes and shapes. Pure functions, total on hostile input, no I/O.

``sse`` frames streams, ``body`` reads and writes JSON, ``request`` checks what clients send, ``answer`` follows what upstreams
send back, ``usage`` counts tokens, ``needs`` and ``translate`` tell which models can take a request and how to say it to them.
"""
