//! The neighbour table: who answers for the addresses that this machine reaches without a router.

use std::collections::HashMap;
use std::net::IpAddr;

/// The table: by address, whether somebody answers for it; empty if it cannot be read.
///
/// Where one address stands for several links, one that answers is enough.
#[cfg(target_os = "linux")]
#[must_use]
pub fn known() -> HashMap<IpAddr, bool> {
    let mut table = HashMap::new();
    // What cannot be read tells nothing, and nobody depends on it.
    let _ = linux::read(&mut table);
    table
}

/// Nobody knows how to read it here.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn known() -> HashMap<IpAddr, bool> {
    HashMap::new()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;
    use std::io::{self, Read, Write};
    use std::net::IpAddr;
    use std::time::Duration;

    use socket2::{Domain, Protocol, Socket, Type};

    /// Of what stands between a message's header and its attributes (`ndmsg`).
    const FIXED: usize = 12;
    const HEADER: usize = 16;
    /// The address, among the attributes (`NDA_DST`).
    const ADDRESS: u16 = 1;
    const INCOMPLETE: u16 = 0x01;
    const FAILED: u16 = 0x20;
    const NO_ARP: u16 = 0x40;

    fn u16_at(data: &[u8], place: usize) -> Option<u16> {
        Some(u16::from_ne_bytes(data.get(place..place + 2)?.try_into().ok()?))
    }

    fn u32_at(data: &[u8], place: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(data.get(place..place + 4)?.try_into().ok()?))
    }

    /// Ask the kernel for the table (`RTM_GETNEIGH`, a dump).
    pub fn read(table: &mut HashMap<IpAddr, bool>) -> io::Result<()> {
        let kind = Type::from(libc::SOCK_RAW | libc::SOCK_CLOEXEC);
        let mut kernel = Socket::new(Domain::from(libc::AF_NETLINK), kind, Some(Protocol::from(libc::NETLINK_ROUTE)))?;
        kernel.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut request = [0; HEADER + FIXED];
        request[0] = (HEADER + FIXED) as u8;
        request[..4].copy_from_slice(&((HEADER + FIXED) as u32).to_ne_bytes());
        request[4..6].copy_from_slice(&libc::RTM_GETNEIGH.to_ne_bytes());
        request[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
        request[8..12].copy_from_slice(&1u32.to_ne_bytes());
        kernel.write_all(&request)?;
        let mut buffer = vec![0; 1 << 17];
        loop {
            let size = kernel.read(&mut buffer)?;
            let mut data = &buffer[..size];
            while let (Some(length), Some(kind)) = (u32_at(data, 0), u16_at(data, 4)) {
                let length = length as usize;
                if i32::from(kind) == libc::NLMSG_DONE || i32::from(kind) == libc::NLMSG_ERROR || length < HEADER {
                    return Ok(());
                }
                if let Some((address, answers)) = data.get(HEADER..length).and_then(entry) {
                    *table.entry(address).or_insert(false) |= answers;
                }
                data = data.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    /// The address of one entry, and whether somebody answers for it.
    fn entry(message: &[u8]) -> Option<(IpAddr, bool)> {
        let state = u16_at(message, 8)?;
        let mut attributes = message.get(FIXED..)?;
        if state & !NO_ARP == 0 {
            return None;
        }
        loop {
            let (length, kind) = (usize::from(u16_at(attributes, 0)?), u16_at(attributes, 2)?);
            let value = attributes.get(4..length)?;
            if kind == ADDRESS {
                let address = match value.len() {
                    4 => IpAddr::from(<[u8; 4]>::try_from(value).ok()?),
                    16 => IpAddr::from(<[u8; 16]>::try_from(value).ok()?),
                    _ => return None,
                };
                return Some((address, state & (INCOMPLETE | FAILED) == 0));
            }
            attributes = attributes.get(length.next_multiple_of(4)..)?;
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_is_read_and_holds_no_address_of_this_machine() {
        assert!(!super::known().contains_key(&std::net::IpAddr::from([127, 0, 0, 1])));
    }
}
