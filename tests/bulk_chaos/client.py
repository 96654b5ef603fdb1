"""The command ``headrace`` as a process of the harness: ``python -m tests.bulk_chaos.client ...``.

A bug may be planted in it, and it keeps checkpoints more often, so that a short job has some.
"""

import os
import sys

from headrace_client.bulk.job import running
from headrace_client.cli.main import main
from tests.bulk_chaos import planted

CHECKPOINT_VARIABLE = "HEADRACE_BULK_CHAOS_CHECKPOINT_S"

if __name__ == "__main__":
    if every_s := os.environ.get(CHECKPOINT_VARIABLE):
        running.CHECKPOINT_EVERY_S = float(every_s)
    if bug := os.environ.get(planted.VARIABLE):
        planted.plant(planted.Bug(bug))
    main(sys.argv[1:])
