import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from headrace_client.bulk.job.state.checkpoints import CheckpointError, CheckpointStore
from headrace_client.bulk.job.state.job_lock import JobLock, JobLockedError


def test_the_last_checkpoint_comes_back(tmp_path: Path) -> None:
    with CheckpointStore(tmp_path / "state.sqlite") as store:
        assert store.load() is None
        store.save({"rows": 1})
        store.save({"rows": 2, "offsets": {"0": 7}})
    with CheckpointStore(tmp_path / "state.sqlite") as store:
        assert store.load() == {"rows": 2, "offsets": {"0": 7}}


def test_every_checkpoint_is_synced_before_save_returns(tmp_path: Path) -> None:
    with CheckpointStore(tmp_path / "state.sqlite") as store:
        store.save({"rows": 1})
        # 2 is FULL: the log is synced with each transaction.
        assert store._database.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_killed_process_leaves_its_last_checkpoint(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib\n"
        "from headrace_client.bulk.job.state.checkpoints import CheckpointStore\n"
        "store = CheckpointStore(pathlib.Path(sys.argv[1]))\n"
        "store.save({'rows': 41})\n"
        "os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "state.sqlite"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=300)
    with CheckpointStore(path) as store:
        assert store.load() == {"rows": 41}


def test_a_database_of_another_release_or_none_at_all_says_what_to_do(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    database = sqlite3.connect(other)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(CheckpointError, match="--restart"):
        CheckpointStore(other)
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"no database at all" * 100)
    with pytest.raises(CheckpointError, match="run the same command again"):
        CheckpointStore(broken)


def test_two_processes_do_not_run_one_job(tmp_path: Path) -> None:
    second = JobLock(tmp_path / "lock")
    with (
        JobLock(tmp_path / "lock"),
        pytest.raises(JobLockedError, match="another process"),
        second,
    ):
        pass
    with JobLock(tmp_path / "lock"):
        pass


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib\n"
        "from headrace_client.bulk.job.state.job_lock import JobLock\n"
        "JobLock(pathlib.Path(sys.argv[1])).__enter__()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")], check=False, timeout=300)
    with JobLock(tmp_path / "lock"):
        pass
