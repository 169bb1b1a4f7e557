"""A redis-server of the test's own, which can be stopped, killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .processes import stop
from .waiting import wait_until


class RedisServer:
    """Listens on a Unix socket in ``folder``; ``keep`` writes every command to its append-only file.

    ``options`` are more of its own, ``inside`` is what it is run by, and ``url`` where nodes find it instead.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        keep: bool = False,
        password: str | None = None,
        inside: tuple[str, ...] = (),
        url: str = "",
    ) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed")
        self.path = folder / "redis.sock"
        self.url = url or f"unix://{self.path}"
        self._password = password
        self._arguments = [
            *inside,
            program,
            "--port",
            "0",
            "--unixsocket",
            str(self.path),
            "--save",
            "",
            "--dir",
            str(folder),
        ]
        self._arguments += ["--appendonly", "yes", "--appendfsync", "always"] if keep else []
        self._arguments += [*(["--requirepass", password] if password else []), *options]
        self.start()

    def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self.process = subprocess.Popen(self._arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self.answers)

    def answers(self) -> bool:
        import redis

        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.exceptions.RedisError:
            return False

    def client(self) -> Any:
        import redis

        return redis.Redis(unix_socket_path=str(self.path), password=self._password, protocol=2, decode_responses=False)

    def freeze(self) -> None:
        stop(self.process.pid)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
