"""Runs ``headrace submit`` on a file, as from a shell."""

import sys

from headrace.cli.main import main

if __name__ == "__main__":
    main(["submit", *sys.argv[1:]])
