"""``make fuzz``: many hostile records; prints what became of them, and fails if one has none."""

import argparse
import json
import sys
import time

from tests.fuzz.run import Fuzz, ViolationError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    begun_s = time.monotonic()  # noqa: TID251 - a command of a person's

    def show(records: int) -> None:
        sys.stderr.write(f"\r{records:,} of {options.records:,} records")
        sys.stderr.flush()

    try:
        report = Fuzz(options.seed, finished=show).run(options.records)
    except ViolationError as error:
        sys.stderr.write(f"\nseed {options.seed}: {error}\n")
        return 1
    elapsed_s = time.monotonic() - begun_s  # noqa: TID251 - as above
    sys.stderr.write("\n")
    if options.json:
        found = {"records": report.records, "outcomes": report.outcomes}
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    for outcome, count in report.outcomes.most_common():
        sys.stdout.write(f"{count:>10,}  {outcome}\n")
    sys.stdout.write(
        f"{report.records:,} records in {elapsed_s:.0f} s, each with one outcome; memory grew by "
        f"{report.grown_kib / 1024:.0f} MiB, and at most {report.most_held_bytes:,} "
        "bytes were held\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
