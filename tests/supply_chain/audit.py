"""The verdict on pip-audit's report: it ends with 0 too where it could look nothing up."""

import json
import sys
from typing import Any

FOUND, NOT_LOOKED_UP = 1, 2


def verdict(report: dict[str, Any]) -> tuple[int, list[str]]:
    """Return an exit status, and lines for a person: advisories, and what was not looked up."""
    lines: list[str] = []
    packages = report["dependencies"]
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    for each in packages:
        for advisory in each.get("vulns", ()):
            fixed = ", ".join(advisory["fix_versions"]) or "no release yet"
            lines.append(f"{each['name']} {each['version']}: {advisory['id']}, fixed in {fixed}")
    if packages and len(skipped) == len(packages):
        lines.append(
            f"not audited: none of {len(packages)} packages could be looked up. pip-audit asks "
            "pypi.org for advisories; this machine does not reach it, or reaches a mirror without "
            "them"
        )
        return NOT_LOOKED_UP, lines
    if skipped:
        lines.append(f"not looked up: {', '.join(skipped)}")
    if len(lines) > bool(skipped):
        return FOUND, lines
    lines.append(f"no advisory concerns the {len(packages) - len(skipped)} packages")
    return 0, lines


def main() -> int:
    try:
        status, lines = verdict(json.load(sys.stdin))
    except json.JSONDecodeError:
        status, lines = NOT_LOOKED_UP, ["not audited: pip-audit gave no report; see above"]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
