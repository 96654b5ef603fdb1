"""The ``headrace`` command, one module per subcommand."""

import sys

try:
    from handoff.own_packages import check_own_packages

    check_own_packages()
except ImportError as error:
    sys.exit(
        f"headrace: {error}"
        if error.name is None
        else "headrace: a package 'handoff' hides Headrace's own: rename it, or keep your models "
        "in a folder without it and name that folder in PYTHONPATH"
    )

from headrace.cli.main import main

__all__ = ["main"]
