"""Errors of the client's commands, as a person reads them."""

from aiokafka.errors import KafkaError
from rich.console import Console
from rich.text import Text

from headrace_client.errors import ClientError

EXTRAS = {
    **dict.fromkeys(("fsspec", "numpy", "pyarrow"), "bulk"),
    **dict.fromkeys(("lance", "lancedb"), "lance"),
}
"""Packages that not every installation has, and the extra that brings them."""


def explain(error: Exception) -> list[str] | None:
    """Return lines that say what to do; ``None`` where the error is not the user's to mend."""
    if isinstance(error, ClientError):
        return [str(error)]
    if isinstance(error, KafkaError):
        look = "Is a broker up at kafka.bootstrap, and do tls and sasl fit it?"
        start = "`headrace up` starts a local one where kafka.broker is not external."
        return [f"Kafka: {error}. {look} {start}"]
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in EXTRAS:
            install = f"pip install 'headrace-client[{EXTRAS[package]}]'"
            return [f"the command needs {package}: {install}"]
    return None


def print_errors(lines: list[str]) -> None:
    console = Console(stderr=True)
    for line in lines:
        text = Text.assemble(("error: ", "bold red"), line)
        console.print(text, soft_wrap=True, highlight=False)
