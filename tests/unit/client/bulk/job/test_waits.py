from headrace_client.bulk.job.progress.waits import Facts, waits_for


def test_a_job_that_gets_results_waits_for_nothing() -> None:
    assert waits_for(Facts(in_flight_requests=512, since_result_s=2.9)) is None


def test_it_names_the_requests_that_are_out_and_the_oldest() -> None:
    facts = Facts(in_flight_requests=512, oldest_in_flight_s=12.4, since_result_s=3.0)
    assert waits_for(facts) == "waiting for results of 512 requests, oldest 12 s"


def test_a_service_that_does_not_run_is_named_before_its_effect() -> None:
    facts = Facts(
        in_flight_requests=512,
        since_result_s=2.0,
        has_consumers=False,
        requests_topic="embeddings.requests",
    )
    assert waits_for(facts) == (
        "nobody consumes embeddings.requests: is the service up? (`headrace up`)"
    )


def test_a_silent_broker_is_named_before_everything_else() -> None:
    facts = Facts(
        in_flight_requests=5,
        since_result_s=90.0,
        has_consumers=False,
        broker_silent_s=75.0,
        broker="kafka:9092",
    )
    assert "the broker at kafka:9092 does not answer since 1 min 15 s" in (waits_for(facts) or "")


def test_a_paused_job_says_so_once_nothing_is_out() -> None:
    assert "paused" in (waits_for(Facts(is_paused=True)) or "")
    facts = Facts(is_paused=True, in_flight_requests=2, since_result_s=4.0)
    assert "2 requests" in (waits_for(facts) or "")


def test_a_slow_input_is_named() -> None:
    assert waits_for(Facts(is_reading=True, since_result_s=5.0)) == "reading the input"
