"""``python -m proxy``: the command ``orch``."""

from proxy.cli import main

if __name__ == "__main__":
    main()
