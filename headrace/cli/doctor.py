"""``headrace doctor``: looks for what is wrong around the service."""

from collections import Counter

import typer

from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import err, out, print_json, print_note
from headrace.doctor.looking import look_around
from headrace.preflight.findings import errors_of
from headrace.preflight.table import findings_list


def doctor(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Look for what is wrong with broker, topics, rights, clocks, versions, GPUs, disk and Ray.

    Each finding comes with its fix. Nothing is changed. Exits with 1 if there is an error.
    """
    settings = read_settings(config)
    with err.status("looking around"):
        findings = look_around(settings)
    if json:
        print_json({"findings": [each.to_dict() for each in findings]})
    else:
        out.print(findings_list(findings))
        counts = Counter(each.level for each in findings)
        print_note(f"{counts['error']} errors, {counts['warning']} warnings, {counts['ok']} ok")
    if errors_of(findings):
        raise typer.Exit(1)
