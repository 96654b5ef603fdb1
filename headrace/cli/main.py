"""The command line where the service is installed; the client's commands are part of it."""

from headrace_client.cli.commands import Command
from headrace_client.cli.main import COMMANDS as CLIENT_COMMANDS
from headrace_client.cli.main import command_line
from headrace_client.cli.running import run

COMMANDS = (
    Command(
        "init",
        "headrace.cli.init:init",
        "Write a settings file with comments, from three answers, and say how to go on.",
    ),
    Command(
        "up",
        "headrace.cli.up:up",
        "Start what is missing (broker, Ray, topics), deploy, and watch; Ctrl-C drains and stops.",
    ),
    Command(
        "diff",
        "headrace.cli.diff:diff",
        "Show what `headrace up` would change on the Ray cluster; change nothing.",
    ),
    Command(
        "run",
        "headrace.cli.run:run",
        "Run a model over a file of OpenAI Batch lines, offline; needs no service and no settings.",
    ),
    Command(
        "submit",
        "headrace.cli.records.submit:submit",
        "Publish each line of a file, as it is, to a route's requests topic.",
    ),
    Command(
        "results",
        "headrace.cli.records.results:results",
        "Read results: a table on a terminal, JSON lines in a pipe or file.",
    ),
    Command(
        "cancel",
        "headrace.cli.records.cancel:cancel",
        "Cancel requests that were published until now; later ones of the same name run.",
    ),
    Command(
        "status",
        "headrace.cli.status:status",
        "Show each route's lag, what the service that runs here reports, and what it waits for.",
    ),
    Command(
        "route",
        "headrace.cli.route.route:route_app",
        "Pause a route, and resume it.",
    ),
    Command(
        "offsets",
        "headrace.cli.offsets.offsets:offsets_app",
        "Offsets of a route's group: show, seek, skip, replay.",
    ),
    Command(
        "top",
        "headrace.cli.top.top:top",
        "Show what the service does now: routes, models and jobs; q leaves.",
    ),
    Command(
        "doctor",
        "headrace.cli.doctor:doctor",
        "Look for what is wrong with broker, topics, rights, clocks, versions, GPUs, disk and Ray.",
    ),
    Command(
        "health",
        "headrace.cli.health:health",
        "Exit 0 if every route of the service on the Ray cluster has a consumer that is well.",
    ),
    Command(
        "check",
        "headrace.cli.check:check",
        "Check a settings file, and show its models and routes or everything wrong with it.",
    ),
    Command(
        "schema",
        "headrace.cli.records.schema:schema",
        "Print a JSON Schema, or the AsyncAPI 3.0 document of a settings file's routes.",
    ),
    Command(
        "topics",
        "headrace.cli.topics:topics_app",
        "The topics that the routes need.",
    ),
    Command(
        "dlq",
        "headrace.cli.dlq.dlq:dlq_app",
        "Dead letters: list, show, replay, purge.",
    ),
    Command(
        "models",
        "headrace.cli.models.models:models_app",
        "The models' weights, and adapters of running ones.",
    ),
    Command(
        "render",
        "headrace.cli.render:render_app",
        "Manifests of the settings, alerts, and a Grafana dashboard.",
    ),
)

app = command_line(
    (*COMMANDS, *CLIENT_COMMANDS),
    "Event-driven inference: Kafka topics in, Kafka topics out, Ray Serve between.",
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; exits with 0, 1 (it ran, and something is wrong) or 2 (it could not run)."""
    run(app, arguments, "headrace.cli.failures")
