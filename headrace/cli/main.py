"""Combines the subcommands, and turns users' errors into messages."""

import logging
import sys

import typer
from aiokafka.errors import KafkaError

from consumer.ports import SourceError
from headrace.brokers import BrokerStartError
from headrace.cli.check import check
from headrace.cli.diff import diff
from headrace.cli.dlq.dlq import dlq_app
from headrace.cli.health import health
from headrace.cli.models import models_app
from headrace.cli.options import EXIT_INTERRUPTED
from headrace.cli.output import print_error
from headrace.cli.records.cancel import cancel
from headrace.cli.records.results import results
from headrace.cli.records.schema import schema
from headrace.cli.records.submit import submit
from headrace.cli.render import render_app
from headrace.cli.status import status
from headrace.cli.topics import topics_app
from headrace.cli.up import up
from headrace.errors import ServiceError, UserError
from headrace.settings.problems import SettingsError

EXIT_USER_ERROR = 2

app = typer.Typer(
    name="headrace",
    help="Event-driven inference: Kafka topics in, Kafka topics out, Ray Serve between.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (up, diff, submit, results, cancel, status, health, check, schema):
    app.command()(command)
app.add_typer(topics_app, name="topics")
app.add_typer(dlq_app, name="dlq")
app.add_typer(models_app, name="models")
app.add_typer(render_app, name="render")


def main(arguments: list[str] | None = None) -> None:
    """Run the command; exits with 0, 1 (it ran, and something is wrong) or 2 (it could not run)."""
    # aiokafka logs each failed attempt; the error that we print has the last one.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    try:
        app(args=arguments, prog_name="headrace")
    except SettingsError as error:
        for problem in error.problems:
            print_error(str(problem))
        sys.exit(EXIT_USER_ERROR)
    except (UserError, BrokerStartError, ServiceError, SourceError) as error:
        print_error(str(error))
        sys.exit(EXIT_USER_ERROR)
    except KafkaError as error:
        print_error(
            f"Kafka: {error}. Is a broker up at kafka.bootstrap, and do tls and sasl fit it? "
            "`headrace up` starts a local one where kafka.broker is not external."
        )
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
