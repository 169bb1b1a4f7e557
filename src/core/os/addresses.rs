//! Addresses as text, in the words that users get.

use std::net::{IpAddr, SocketAddr};

/// The host of a socket's address, with its zone where it has one: `fe80::1%eth0`.
#[must_use]
pub fn host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(six) if six.scope_id() != 0 => format!("{}%{}", six.ip(), zone(six.scope_id())),
        _ => address.ip().to_string(),
    }
}

/// The network that an address is counted with: an IPv4 address alone, of IPv6 a /64.
#[must_use]
pub fn network_of(address: IpAddr) -> u128 {
    let number = number_of(address);
    if number >> 32 == 0xffff { number } else { number >> 64 << 64 }
}

/// An address as a number of IPv6; that of IPv4 is the mapped one.
#[must_use]
pub fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The name of a zone, which is that of a network interface; its number where it has none.
#[cfg(unix)]
fn zone(number: u32) -> String {
    use std::ffi::CStr;
    let mut name = [0_u8; libc::IF_NAMESIZE];
    // SAFETY: the name has room for IF_NAMESIZE bytes, which is all that the call may write.
    let found = unsafe { libc::if_indextoname(number, name.as_mut_ptr().cast()) };
    match CStr::from_bytes_until_nul(&name) {
        Ok(name) if !found.is_null() => name.to_string_lossy().into_owned(),
        _ => number.to_string(),
    }
}

/// Zones are written as numbers here.
#[cfg(windows)]
fn zone(number: u32) -> String {
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};

    #[test]
    fn a_zone_is_part_of_a_host() {
        let scoped = |zone| host(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 0, zone).into());
        assert_eq!(scoped(0), "::1");
        assert_eq!(scoped(u32::MAX), "::1%4294967295");
        assert!(["::1%lo", "::1%lo0", "::1%1"].contains(&&*scoped(1)), "{}", scoped(1));
        assert_eq!(host((Ipv4Addr::LOCALHOST, 80).into()), "127.0.0.1");
    }
}
