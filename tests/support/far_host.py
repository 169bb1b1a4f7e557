"""A second host on this machine: a network namespace whose packets can be dropped, lost, refused, limited or late."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

_LISTEN = """
import selectors, socket, sys
chooser = selectors.DefaultSelector()
for port in map(int, sys.argv[1].split(",")):
    listener = socket.create_server(("", port), backlog=4096)
    listener.setblocking(False)
    chooser.register(listener, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in chooser.select():
        try:
            connection, _ = key.fileobj.accept()
        except OSError:
            continue
        if key.fileobj.getsockname()[1] in BANNERS:
            connection.sendall(BANNERS[key.fileobj.getsockname()[1]])
        connection.close()
"""


def why_not() -> str:
    """Say why there can be no namespaces here, or nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    for tool in ("ip", "nft"):
        if not shutil.which(tool):
            return f"network namespaces need {tool}"
    probe = f"oxisock-probe-{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if done.returncode:
        return f"network namespaces cannot be made: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return ""


class FarHost:
    """Use as a context manager; ``address`` is the far host, and ``drop``, ``lose`` and so on say how it behaves."""

    _count = 0

    def __init__(self) -> None:
        FarHost._count += 1
        number = (os.getpid() + FarHost._count * 997) % 4000  # other processes have far hosts, too
        self.name = f"oxi{os.getpid()}x{FarHost._count}"
        self.near_device = f"ox{os.getpid() % 100000}n{FarHost._count}"[:15]
        self.far_device = self.near_device.replace("n", "f")
        network = f"10.{100 + number // 250}.{number % 250 + 1}"
        self.address = f"{network}.2"
        self.near_address = f"{network}.1"
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        try:
            far = self.far_device
            run(f"ip netns add {self.name}")
            self._make_link(self.near_device, far)
            run(f"ip link set {far} netns {self.name}")
            run(f"ip addr add {self.near_address}/24 dev {self.near_device}")
            run(f"ip link set {self.near_device} up")
            run(f"ip -n {self.name} addr add {self.address}/24 dev {far}")
            run(f"ip -n {self.name} link set {far} up")
            run(f"ip -n {self.name} link set lo up")
            self.inside("nft add table ip f")
            for chain in ("input", "output"):
                rules = f"add chain ip f {chain} {{ type filter hook {chain} priority 0; policy accept; }}"
                self.inside("nft", rules)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make_link(self, near: str, far: str) -> None:
        run(f"ip link add {near} type veth peer name {far}")

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        subprocess.run(["ip", "link", "del", self.near_device], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)

    def inside(self, command: str, *more: str) -> None:
        """Run a command in the far host."""
        run(f"ip netns exec {self.name} {command}", *more)

    def rule(self, rule: str, chain: str = "input") -> None:
        """Add a packet filter rule, such as ``tcp dport 1-1024 drop``."""
        self.inside("nft", f"add rule ip f {chain} {rule}")

    def flush(self) -> None:
        """Remove all rules."""
        self.inside("nft flush table ip f")

    def listen(self, *ports: int, banners: dict[int, bytes] | None = None) -> None:
        """Accept connections on these ports, and say something first on those of ``banners``."""
        code = f"BANNERS = {banners or {}!r}\n{_LISTEN}"
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, sys.executable, "-c", code, ",".join(map(str, ports))],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdout.close()


class DistantHost(FarHost):
    """A far host behind a link with delay and more: ``link.c`` says what its options are."""

    def __init__(self, options: str) -> None:
        super().__init__()
        self._options = options.split()
        self._folder = tempfile.TemporaryDirectory()

    @staticmethod
    def why_not() -> str:
        """Say why there can be none here, or nothing."""
        if not shutil.which("cc"):
            return "a link with delay needs a C compiler"
        return "" if os.path.exists("/dev/net/tun") else "a link with delay needs /dev/net/tun"

    def _make_link(self, near: str, far: str) -> None:
        built = f"{self._folder.name}/link"
        run("cc -O2 -o", built, str(Path(__file__).with_name("link.c")))
        link = subprocess.Popen([built, *self._options, near, far], stdout=subprocess.PIPE, text=True)
        self._processes.append(link)
        assert link.stdout is not None
        assert link.stdout.readline() == "ready\n"
        link.stdout.close()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._folder.cleanup()


def run(command: str, *more: str) -> None:
    """Run a command, and show what it said if it fails."""
    done = subprocess.run([*command.split(), *more], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command} {' '.join(more)}: {done.stderr.strip()}")


def descriptors_used() -> int:
    """Count this process's descriptors."""
    return len(list(Path("/proc/self/fd").iterdir()))
