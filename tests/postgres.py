"""A PostgreSQL of our own, on a socket, where its programs are installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

USER = "postgres"


def _program(name: str) -> str | None:
    found = [str(each) for each in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))]
    return shutil.which(name) or next(reversed(found), None)


def is_postgres_there() -> bool:
    return _program("initdb") is not None and _program("postgres") is not None


@contextmanager
def running_postgres() -> Iterator[Mapping[str, str]]:
    """Yield the environment by which clients find the server."""
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    assert initdb is not None
    assert pg_ctl is not None
    # It refuses to run as root; a short path, because a socket's name is short.
    owner = USER if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        if owner is not None:
            shutil.chown(folder, owner)
        data = str(folder / "data")

        def run(*command: str) -> None:
            subprocess.run(
                command,
                user=owner,
                cwd="/",
                check=True,
                capture_output=True,
                env={"LC_ALL": "C"},
                timeout=300,
            )

        run(initdb, "--pgdata", data, "--username", USER, "--auth", "trust", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        run(pg_ctl, "start", "--pgdata", data, "--wait", "--log", f"{data}/log", "-o", options)
        try:
            yield {"PGHOST": str(folder), "PGUSER": USER, "PGDATABASE": USER}
        finally:
            run(pg_ctl, "stop", "--pgdata", data, "--mode", "immediate")
