"""Names of services and the order of the top ports."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from oxisock.scanning import services


@pytest.fixture
def services_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A services file of the test's own, not there at first."""
    path = tmp_path / "services"
    monkeypatch.setattr(services, "_services_file", lambda: str(path))
    services._load.cache_clear()
    yield path
    services._load.cache_clear()


@pytest.mark.parametrize(
    ("port", "name"),
    [(22, "ssh"), (80, "http"), (443, "https"), (25, "smtp"), (5432, "postgresql"), (8080, "http-alt")],
)
def test_the_usual_names(impl: ModuleType, port: int, name: str) -> None:
    assert impl.service_name(port) == name
    assert services.service_port(name) == port


def test_protocols_and_defaults(impl: ModuleType) -> None:
    assert impl.service_name(69, "udp") == "tftp"
    assert impl.service_name(51820, protocol="udp") == "wireguard"
    assert impl.service_name(64999) == "unknown"
    assert impl.service_name(64999, default="-") == "-"


@pytest.mark.parametrize("port", [0, -1, 65536, 10**30])
def test_bad_ports(impl: ModuleType, port: int) -> None:
    with pytest.raises(ValueError, match=f"^port={port}: expected a port from 1 to 65535"):
        impl.service_name(port)


@pytest.mark.parametrize("port", ["80", 80.0, True, None])
def test_ports_of_wrong_type(impl: ModuleType, port: object) -> None:
    with pytest.raises(TypeError, match="^port=.*: expected a port from 1 to 65535"):
        impl.service_name(port)


@pytest.mark.parametrize("protocol", ["sctp", "TCP", ""])
def test_bad_protocols(impl: ModuleType, protocol: object) -> None:
    with pytest.raises(ValueError, match="expected 'tcp' or 'udp'"):
        impl.service_name(80, protocol)


def test_the_system_s_file_comes_first_as_with_getservbyport(services_file: Path) -> None:
    services_file.write_text(
        "# a comment\n"
        "\n"
        "intranet 80/tcp web Inter-Net # the first one counts\n"
        "http\t80/tcp www\n"
        "secret  60001/tcp\n"
        "only-udp 60001/udp\n"
        "odd 60002/sctp\n"
        "wrong\n"
        "wrong 1x/tcp\n"
        "wrong 0/tcp\n"
        "wrong 70000/tcp\n"
        "wrong ٣/tcp\n"
        "intranet 81/tcp\n",
        encoding="utf-8",
    )
    assert services.service_name(80) == "intranet"
    assert services.service_name(60001) == "secret"
    assert services.service_name(60001, "udp") == "only-udp"
    assert services.service_name(60002) == "unknown"
    assert [services.service_port(name) for name in ("http", "www", "INTER-NET", "intranet")] == [80] * 4
    assert services.service_port("wrong") is None
    assert services.service_port("only-udp") is None
    assert services.service_name(22) == "ssh", "our own table stands behind the file"


def test_without_a_services_file_our_own_table_answers(services_file: Path) -> None:
    assert not services_file.exists()
    assert services.service_name(443) == "https"
    assert services.service_port("http") == 80
    assert services.service_port("http-alt") == 8080
    assert services.service_name(123, "udp") == "ntp"


@pytest.mark.skipif(not Path("/etc/services").exists(), reason="needs /etc/services")
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_agreement_with_the_system(protocol: str) -> None:
    """Where the system has a name for one of the ports in its file, it is ours."""
    lines = [line.partition("#")[0].split() for line in Path("/etc/services").read_text().splitlines()]
    ports = {int(words[1].split("/")[0]) for words in lines if len(words) > 1 and words[1].endswith(f"/{protocol}")}
    assert ports
    for port in ports - {0}:
        assert services.service_name(port, protocol) == socket.getservbyport(port, protocol)


def test_the_top_ports_are_many_and_each_is_there_once() -> None:
    assert len(services.TOP_PORTS) >= 200
    assert len(set(services.TOP_PORTS)) == len(services.TOP_PORTS)
    assert all(1 <= port <= 65535 for port in services.TOP_PORTS)
    assert {80, 443, 22, 21, 25, 53, 3389, 445, 3306, 5432, 6379, 8080, 8443} <= set(services.TOP_PORTS[:50])


def test_top_ports_go_on_to_all_ports() -> None:
    everything = services.top_ports(65535)
    assert sorted(everything) == list(range(1, 65536))
    for count in (1, 100, len(services.TOP_PORTS), len(services.TOP_PORTS) + 1, 1000):
        assert services.top_ports(count) == everything[:count]
    for count in (0, -1, 65536):
        with pytest.raises(ValueError, match="expected a number of ports"):
            services.top_ports(count)
