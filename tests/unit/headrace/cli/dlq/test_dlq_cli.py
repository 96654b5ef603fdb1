"""The `dlq` commands, as far as they need no Kafka."""

from pathlib import Path

import pytest

from headrace.cli import main
from headrace.cli.dlq.options import Filters, confirm
from headrace.cli.dlq.output import describe_age
from headrace.dead_letters.inbox import inbox_topics
from headrace.errors import UserError
from headrace.settings.file import load_settings

ROOT = Path(__file__).parents[5]
SETTINGS = str(ROOT / "headrace.yaml")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize("command", ["list", "show", "replay", "purge"])
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = run(capsys, "dlq", command, "--help")

    assert code == 0
    assert "--config" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["list", "--error", "model_fail"], "did you mean 'model_failed'?"),
        (["list", "--older-than", "yesterday"], "--older-than: 'yesterday' is no duration"),
        (["purge", "--older-than", "2d", "--newer-than", "1d"], "leaves nothing"),
        (["replay", "--route", "embedings"], "did you mean 'embeddings'?"),
        (["replay", "--to", "embeddings.results"], "is where routes.embeddings writes"),
    ],
)
def test_a_users_error_says_what_to_do(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    code, out, err = run(capsys, "dlq", *arguments, "-c", SETTINGS)

    assert (code, out) == (2, "")
    assert expected in err


def test_durations_count_back_from_now() -> None:
    filters = Filters(error=["model_failed"], older_than="10s", newer_than="7d")

    selection = filters.selection(load_settings(Path(SETTINGS)), now_ms=100_000)

    assert (selection.failed_after_ms, selection.failed_before_ms) == (0, 90_000)
    assert selection.error_codes == {"model_failed"}


def test_without_a_terminal_nothing_is_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)

    confirm("Sure?", is_sure=True)
    with pytest.raises(UserError, match="--yes"):
        confirm("Sure?", is_sure=False)


def test_routes_that_share_a_dead_letter_topic_are_read_once() -> None:
    settings = load_settings(Path(SETTINGS))
    routes = {
        name: each.model_copy(update={"dead_letters_topic": "dead"})
        for name, each in settings.routes.items()
    }
    shared = settings.model_copy(update={"routes": routes})

    assert inbox_topics(shared, None) == {"dead": tuple(routes)}
    assert inbox_topics(shared, next(iter(routes))) == {"dead": tuple(routes)}


@pytest.mark.parametrize(
    ("at_ms", "age"), [(None, ""), (-1, ""), (0, "2m"), (119_000, "1s"), (130_000, "0s")]
)
def test_the_age_of_a_record_is_told_where_it_has_a_time(at_ms: int | None, age: str) -> None:
    assert describe_age(at_ms, now_ms=120_000) == age
