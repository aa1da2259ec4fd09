"""Percona's pt-online-schema-change adding the same two constraints (MySQL and MariaDB).

Run as a program: `python -m tests.benchmarks.percona URL`. The orphans are deleted in one statement first:
the tool copies with INSERT IGNORE and stops at the first row that breaks the key.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import sqlalchemy as sa


def main(text: str) -> int:
    """Migrate; returns the tool's exit code."""
    url = sa.make_url(text)
    engine = sa.create_engine(url)
    _say("delete orphans")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "DELETE p FROM post p LEFT JOIN `user` u ON u.id = p.user_id WHERE u.id IS NULL"
        )
    engine.dispose()
    _say("copy")
    alter = (
        "ADD CONSTRAINT fk_post_user_id_user FOREIGN KEY (user_id) REFERENCES `user` (id), "
        "MODIFY user_id INT NOT NULL"
    )
    with tempfile.TemporaryDirectory() as folder:
        options = Path(folder, "my.cnf")
        options.write_text(f"[client]\nuser={url.username}\npassword={url.password}\n")
        options.chmod(0o600)
        command = [
            "pt-online-schema-change", "--execute", "--alter", alter, "--no-check-unique-key-change",
            "--null-to-not-null", "--no-version-check", "--no-check-alter", "--recursion-method=none",
            "--set-vars", "lock_wait_timeout=2",
            f"F={options},h={url.host},P={url.port},D={url.database},t=post",
        ]  # fmt: skip
        done = subprocess.run(
            command, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False
        )
    if done.returncode:
        print((done.stdout + done.stderr).strip().splitlines()[-1], file=sys.stderr)
    return done.returncode


def _say(phase: str) -> None:
    print(f"phase: {phase}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
