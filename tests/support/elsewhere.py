"""A program that does most of what the package can with what another system lacks taken from Python.

    python elsewhere.py windows|macos pure|native

The system beneath stays what it is, so this finds what asks for a name that is not there, and runs what is written for
another system as far as any system can. `oxisock` is imported after the names are gone.
"""

from __future__ import annotations

# asyncio looks at the system while it is imported, so that comes before the system changes.
import asyncio
import asyncio.selector_events
import contextlib
import io
import os
import select
import selectors
import signal
import socket
import sys
import tempfile
import threading
import types
from typing import Any

LACKS: dict[str, dict[Any, str]] = {
    "windows": {
        socket: "AF_UNIX SO_REUSEPORT MSG_DONTWAIT MSG_NOSIGNAL MSG_ERRQUEUE MSG_CTRUNC SCM_RIGHTS CMSG_LEN CMSG_SPACE "
        "AF_NETLINK AF_PACKET SO_BINDTODEVICE TCP_USER_TIMEOUT TCP_CORK TCP_INFO send_fds recv_fds",
        socket.socket: "recvmsg recvmsg_into sendmsg sendmsg_afalg",
        select: "epoll poll EPOLLIN EPOLLOUT POLLIN POLLOUT POLLERR POLLHUP",
        selectors: "EpollSelector PollSelector KqueueSelector",
        os: "fork forkpty register_at_fork sched_getaffinity sched_setaffinity getuid geteuid getgid sysconf uname "
        "killpg getpgid setsid pipe2 pread pwrite writev readv sendfile posix_spawn wait4 WNOHANG O_NONBLOCK O_CLOEXEC "
        "eventfd memfd_create pidfd_open nice getloadavg mkfifo chown ttyname",
        signal: "SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGPIPE SIGQUIT SIGKILL SIGSTOP SIGCONT SIGWINCH setitimer "
        "alarm pthread_kill pthread_sigmask sigwait pause siginterrupt",
        "modules": "fcntl termios tty pty resource pwd grp syslog posix",
    },
    "macos": {
        socket: "MSG_ERRQUEUE MSG_NOSIGNAL AF_NETLINK AF_PACKET SO_BINDTODEVICE TCP_USER_TIMEOUT TCP_CORK "
        "TCP_DEFER_ACCEPT SO_PEERCRED SO_PROTOCOL SO_DOMAIN IP_RECVERR",
        socket.socket: "sendmsg_afalg",
        select: "epoll EPOLLIN EPOLLOUT",
        selectors: "EpollSelector",
        os: "sched_getaffinity sched_setaffinity eventfd memfd_create pidfd_open pipe2 splice copy_file_range "
        "posix_fadvise setresuid getrandom",
        signal: "sigtimedwait sigwaitinfo SIGPOLL SIGPWR SIGSTKFLT SIGRTMIN SIGRTMAX",
        "modules": "spwd ossaudiodev",
    },
}


class Gone:
    """A method that a class does not have."""

    def __get__(self, instance: object, owner: object) -> object:
        raise AttributeError("this system has no such method")


def become(system: str) -> None:
    """Take from Python what that system lacks, and let it say that it is that system."""
    for where, names in LACKS[system].items():
        for name in names.split():
            if where == "modules":
                sys.modules[name] = None  # type: ignore[assignment]
            elif isinstance(where, type):
                setattr(where, name, Gone())
            elif hasattr(where, name):
                delattr(where, name)
    windows = system == "windows"
    selectors.DefaultSelector = selectors.SelectSelector if windows else selectors.PollSelector  # type: ignore[misc]
    asyncio.selector_events._HAS_SENDMSG = not windows  # type: ignore[attr-defined]
    if windows:
        socket.socketpair = over_tcp  # type: ignore[assignment]
        sys.modules["msvcrt"] = types.ModuleType("msvcrt")
        vars(sys.modules["msvcrt"]).update(LK_NBLCK=2, locking=lambda number, mode, size: None)
    sys.platform = "win32" if windows else "darwin"


def over_tcp() -> tuple[socket.socket, socket.socket]:
    """A pair of sockets, as Python makes it where the system does not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


def frames(o: Any) -> None:
    with o.EchoServer() as server, o.connect(*server.address, o.Netstring(), timeout=30) as conn:
        conn.send(b"x" * 100_000)
        assert conn.recv() == b"x" * 100_000
        conn.shutdown_write()
        assert conn.recv() is None


def servers(o: Any) -> None:
    def serve(conn: Any, peer: Any) -> None:
        for message in conn.frames(o.Lines()):
            conn.sendall(message + b"\n")

    for server in (o.MessageServer(lambda message, peer: message, dispatchers=2), o.ThreadedServer(serve)):
        with server:
            assert o.tcp_request(*server.address, b"one", codec=o.Lines(), timeout=30) == b"one"
    for server in (o.UdpEchoServer(), o.UdpServer(lambda datagram: datagram.data)):
        with server:
            assert o.udp_request(*server.address, b"two", timeout=30) == b"two"
            assert server.stats().messages == 1
    with o.ChatServer(echo=False) as server:
        with o.ChatClient(*server.address, nick="ann") as ann, o.ChatClient(*server.address) as bob:
            ann.send("hello")
            assert next(iter(bob)) == "[ann] hello"
            assert len(server.members()) == 2


def ports(o: Any) -> None:
    with o.EchoServer() as server, socket.socket() as idle:
        host, port = server.address
        if sys.platform == "win32":
            try:
                o.EchoServer(reuse_port=True).start()
            except OSError as error:
                assert "SO_REUSEPORT" in str(error), error
            else:
                raise AssertionError("it shares a port where none can be shared")
        assert o.check_host(host, port, timeout=30)
        o.wait_for_port(host, port, timeout=30)
        idle.bind((host, 0))
        closed = idle.getsockname()[1]
        # No probe is under way between two of these.
        report = o.scan(host, f"{port},{closed}", timeout=5, rate=20, banner=0.1)
        assert [result.port for result in report.open] == [port], report.counts
        assert report.counts["closed"] == 1, report.counts
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "scan")
            first = o.scan(host, str(port), timeout=30, checkpoint=path)
            assert o.scan(host, str(port), timeout=30, checkpoint=path).open == first.open
        if o.impl == "native":
            assert o.load_test(host, port, connections=2, duration=0.1, timeout=30).figures["answered"]


def coroutines(o: Any) -> None:
    async def main() -> None:
        async def handler(stream: Any, peer: Any) -> None:
            async for message in stream:
                await stream.send(message)

        async with await o.aio.start_server(handler, codec=o.Lines()) as server:
            assert await o.aio.tcp_request(*server.address, b"three", codec=o.Lines(), timeout=30) == b"three"
            report = await o.aio.scan(server.address.host, str(server.address.port), timeout=30)
            assert len(report.open) == 1

    asyncio.run(main())


def commands(o: Any) -> None:
    from oxisock.cli import main

    with o.EchoServer() as server:
        host, port = server.address
        for words in (
            ["check", f"{host}:{port}"],
            ["scan", host, "-p", str(port), "--format", "json"],
            ["explain", "--help"],
        ):
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
                assert main(words) == 0, words
            assert said.getvalue()


def stop_when_told(o: Any) -> None:
    server = o.EchoServer().start()
    threading.Timer(0.05, server.stop).start()
    server.serve_forever()


if __name__ == "__main__":
    become(sys.argv[1])
    import oxisock

    face = getattr(oxisock, sys.argv[2])
    for part in (frames, servers, ports, coroutines, commands, stop_when_told):
        part(face)
    print("done")
