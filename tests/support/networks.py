"""Networks of many addresses and hosts in front of others, made of far hosts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .far_host import DistantHost, FarHost, run


def on_the_wire(far: FarHost, numbers: Sequence[int]) -> str:
    """Have these numbers of a /20 on the wire be up; give its first three bits of address, such as ``10.180.16``.

    Number 300 of it is ``10.180.17.44``: `address` says so. This machine is number 1.
    """
    first, second = map(int, far.near_address.split(".")[1:3])
    prefix = f"10.{180 + (first * 251 + second) // 16 % 70}.{(first * 251 + second) % 16 * 16}"
    run(f"ip addr add {prefix}.1/20 dev {far.near_device}")
    commands = "".join(f"ip addr add {address(prefix, number)}/20 dev {far.far_device}\n" for number in numbers)
    far.inside("sh -c", commands)
    return prefix


def address(prefix: str, number: int) -> str:
    """Give the address of a number of a network."""
    network, _, third = prefix.rpartition(".")
    return f"{network}.{int(third) + number // 256}.{number % 256}"


def behind(far: FarHost, numbers: Sequence[int]) -> str:
    """Have a far host be the router of a /24 where these are up, and nobody speaks for others; give its prefix."""
    prefix = far.address.rpartition(".")[0].replace("10.", "11.", 1)
    run(f"ip route add {prefix}.0/24 via {far.address}")
    for number in numbers:
        far.inside(f"ip addr add {prefix}.{number}/32 dev lo")
    return prefix


@contextmanager
def forwarding(ports: Sequence[int], options: str) -> Iterator[FarHost]:
    """Give a near host that forwards these ports to a distant one, and refuses others."""
    with FarHost() as front, DistantHost(options) as back:
        run(f"ip link set {back.near_device} netns {front.name}")
        front.inside(f"ip addr add {back.near_address}/24 dev {back.near_device}")
        front.inside(f"ip link set {back.near_device} up")
        front.inside("sysctl -qw net.ipv4.ip_forward=1")
        front.inside("nft add table ip n")
        front.inside("nft", "add chain ip n prerouting { type nat hook prerouting priority -100; }")
        front.inside("nft", "add chain ip n postrouting { type nat hook postrouting priority 100; }")
        wanted = ", ".join(map(str, ports))
        front.inside("nft", f"add rule ip n prerouting tcp dport {{ {wanted} }} dnat to {back.address}")
        front.inside("nft", f"add rule ip n postrouting oifname {back.near_device} masquerade")
        back.listen(*ports)
        yield front
