"""``docs/logs.md``, from the table of log events: ``python -m headrace.observability.log_page``."""

import sys
from collections.abc import Mapping

from schemas.log_events import ADDED_FIELDS, FIELDS, SECTIONS

_INTRODUCTION = """\
# Logs

<!-- Written by `make docs` from schemas/log_events.py. -->

Each line tells of one event that a person would ask about: partitions assigned, records
dead-lettered, a model that is given a rest. No line tells of one record that went well: those are
what [metrics](metrics.md) count.

```yaml
logging:
  format: json  # or plain, the default
  level: info   # debug, info, warning or error
```

Both keys [change while the service runs](upgrades.md#settings). Serve's controller takes them
when Serve starts.

| process | writes to |
|---|---|
| consumers, models, status board, console | `/tmp/ray/session_latest/logs/serve/` and stderr |
| scaling | the log of Serve's controller, in the same folder |
| `headrace up` | stderr |
| `headrace bulk`, `headrace run` | stderr, if `format` is `json`; else they show a bar |
| programs with the client | the loggers below `headrace_client`, for the program's handlers |

With `plain` a line is text in Serve's form. With `json` it is one object, and Serve's own lines of
these replicas are too; `message` is the text of the plain line. Ray adds `deployment`, `replica`,
`node_id` and others:

```json
{"asctime": "2026-11-30 10:00:00,123", "levelname": "WARNING",
 "message": "3 records dead-lettered (invalid_json); the first: texts.requests/2 offset 1234, ...",
 "event": "records_dead_lettered", "code": "invalid_json", "records": 3, "topic": "texts.requests",
 "partition": 2, "offset": 1234, "custom_id": null, "job": "import", "attempts": 0,
 "logger": "consumer.loop.event_log", "deployment": "consumer-texts"}
```

## What is not in them

- **No payloads.** Requests, results, keys and headers are not logged; ids are (`custom_id`, job,
  offset). Of an exception in a model there are class and places, not the message, which may quote a
  text: the result or [dead letter](dead-letters.md) has it.
- **No secrets.** Passwords of the settings, environment variables whose names say that they are
  secret, what a process reads later (files of secrets, tokens of providers), credentials in URLs
  and signatures become asterisks. A secret of fewer than four characters is not recognised.
- **Serve's own lines** of these processes are cleaned in the same way: of the exceptions in them,
  too, there are classes and places.
- **No floods.** Of each kind of event (by topic, partition, code, error class and client) a process
  writes at most ten lines in a row and ten a minute. Then a line ends in `(and 5,120 more like it
  in the last 60 s)`, with the number in `more`. Kinds beyond 256 share one limit. What somebody
  does in the console (`console_acts`, `console_acted`) is written in any case.
- **No forged lines.** Line breaks and control characters in what others have sent are replaced.
  Texts end after 2,000 characters, fields after 500.
"""


def logs_page() -> str:
    parts = [_INTRODUCTION.rstrip()]
    parts += [f"## {title}\n\n{_table('event', events)}" for title, events in SECTIONS.items()]
    fields = dict(sorted({**FIELDS, **ADDED_FIELDS}.items()))
    parts.append(f"## Fields\n\nUnits are in the names.\n\n{_table('field', fields)}")
    return "\n\n".join(parts) + "\n"


def _table(of: str, rows: Mapping[str, str]) -> str:
    lines = [f"| {of} | is |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {text} |" for name, text in rows.items())])


if __name__ == "__main__":
    sys.stdout.write(logs_page())
