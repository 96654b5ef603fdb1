"""A client says what it waits for once in a silence, not again and again."""

from headrace_client.calls.silence import Silence


def test_nothing_open_is_no_silence() -> None:
    silence = Silence()

    assert not any(silence.is_due(float(at), 0, 0) for at in range(100))


def test_a_silence_is_said_after_five_seconds_and_again_after_a_minute() -> None:
    silence = Silence()

    said = [at for at in range(150) if silence.is_due(float(at), 3, 0)]

    assert said == [5, 65, 125]


def test_an_answer_ends_it() -> None:
    silence = Silence()

    said = [at for at in range(20) if silence.is_due(float(at), 3, answered_requests=at // 8)]

    assert said == [5, 13]
    assert silence.silent_s(20.0) == 4.0
