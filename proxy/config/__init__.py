"""Config: from YAML and environment to a checked configuration (``load.py``), and to the next one while running (``watch.py``)."""
