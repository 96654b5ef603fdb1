from serve_models.batching.limits import BatchLimits, limits_over_engine
from tests.unit.serve_models.fakes import settings


def test_a_cpu_runs_a_small_batch_on_each_thread() -> None:
    limits = BatchLimits.of(settings(num_cpus=4), "cpu")
    assert limits == BatchLimits(1024, 256, parallel_batches=4, threads=4, most_budget_tokens=8192)
    assert [limits.threads_for(batches) for batches in (0, 1, 2, 3, 4, 5)] == [4, 4, 2, 1, 1, 1]


def test_many_threads_go_to_few_batches() -> None:
    limits = BatchLimits.of(settings(threads=64), "cpu")
    assert limits.parallel_batches == 8
    assert limits.threads_for(100) == 8


def test_an_accelerator_runs_one_large_batch() -> None:
    limits = BatchLimits.of(settings(num_cpus=4), "mps")
    assert limits == BatchLimits(
        16_384, 4096, parallel_batches=1, threads=4, most_budget_tokens=65_536
    )


def test_a_budget_that_is_set_stays() -> None:
    assert BatchLimits.of(settings(token_budget_tokens=16_384), "cuda").most_budget_tokens == 0


def test_a_device_that_queues_work_has_a_batch_behind_the_one_it_runs() -> None:
    for device in ("cuda", "cuda:1"):
        limits = BatchLimits.of(settings(num_cpus=4), device)
        assert (limits.parallel_batches, limits.queues) == (2, True)
    assert not BatchLimits.of(settings(num_cpus=4), "cpu").queues


def test_a_model_that_cannot_run_in_parallel_runs_one_batch_on_all_threads() -> None:
    for asked in (settings(num_cpus=4), settings(num_cpus=4, parallel_batches=2)):
        limits = BatchLimits.of(asked, "cpu", runs_in_parallel=False)
        assert limits == BatchLimits(
            1024, 256, parallel_batches=1, threads=4, most_budget_tokens=8192
        )
        assert limits.threads_for(2) == 4


def test_the_settings_come_first() -> None:
    asked = settings(token_budget_tokens=99, max_batch_texts=3, parallel_batches=2, threads=1)
    for device in ("cpu", "cuda"):
        expected = BatchLimits(99, 3, parallel_batches=2, threads=1, queues=device == "cuda")
        assert BatchLimits.of(asked, device) == expected


def test_an_engine_that_batches_by_itself_gets_several_batches_of_a_step() -> None:
    asked = settings(num_cpus=4)
    limits = limits_over_engine(BatchLimits.of(asked, "cuda"), asked, step_tokens=8192)
    assert limits == BatchLimits(8192, 4096, parallel_batches=3, threads=4, pads=False)
    asked = settings(num_cpus=4, parallel_batches=5, token_budget_tokens=99)
    limits = limits_over_engine(BatchLimits.of(asked, "cuda"), asked, step_tokens=8192)
    assert limits == BatchLimits(99, 4096, parallel_batches=5, threads=4, pads=False)
