from headrace_client.bulk.job.reply_topics import own_topic


def test_a_job_has_a_topic_of_its_own_under_the_first_prefix() -> None:
    assert own_topic(("texts.late", "texts.jobs.*", "other.*"), "nightly-1") == (
        "texts.jobs.nightly-1"
    )


def test_without_a_prefix_that_leaves_room_there_is_none() -> None:
    assert own_topic((), "nightly-1") is None
    assert own_topic(("texts.late",), "nightly-1") is None
    assert own_topic(("x" * 245 + ".*",), "nightly-1") is None
