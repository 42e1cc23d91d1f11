"""Config: from YAML and environment to a checked configuration (``loader.py``), and to the next while running (``watch.py``)."""

from proxy.config.addresses import is_loopback, parse_listen, store_path
from proxy.config.loader import Loaded, NotLoaded, load

__all__ = ["Loaded", "NotLoaded", "is_loopback", "load", "parse_listen", "store_path"]
