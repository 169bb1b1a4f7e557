//! The PROXY header, by which a proxy says for whom it connects, as a machine.
//!
//! It is the twin of `oxisock.sockets.proxies`, which says why, and reads alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use memchr::memmem::find;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const PREFIX: &[u8] = b"PROXY ";
/// The bytes of a header of version 1 at most, its CR LF counted.
const LONGEST_LINE: usize = 107;
/// The bytes of a header of version 2 before what it announces, and at most in all, as `HAProxy` takes them.
const FIXED: usize = 16;
const LONGEST: usize = 16384;

/// What is no header, in words.
pub type Wrong = &'static str;

const TORN_LINE: Wrong = "a torn PROXY header of version 1";
const TORN: Wrong = "a torn PROXY header of version 2";

/// Reads one header, however it was cut.
#[derive(Debug, Default)]
pub struct ProxyHeader {
    held: Vec<u8>,
    source: Option<SocketAddr>,
}

impl ProxyHeader {
    /// Whom the proxy speaks for, once the header is complete, if it says so of somebody with an IP address.
    #[must_use]
    pub fn source(&self) -> Option<SocketAddr> {
        self.source
    }

    /// Take what came; give how many of these bytes end the header, if they do.
    pub fn feed(&mut self, data: &[u8]) -> Result<Option<usize>, Wrong> {
        let before = self.held.len();
        // Never more than a header can have.
        let room = LONGEST.saturating_sub(before).min(data.len());
        self.held.extend_from_slice(&data[..room]);
        let held = &self.held[..];
        if held.starts_with(PREFIX) {
            let Some(end) = find(&held[..held.len().min(LONGEST_LINE)], b"\r\n") else {
                let over = held.len() >= LONGEST_LINE;
                return if over { Err("a PROXY header of version 1 longer than 107 bytes") } else { Ok(None) };
            };
            self.source = line(&held[..end])?;
            return Ok(Some(end + 2 - before));
        }
        let begun = &held[..held.len().min(SIGNATURE.len())];
        if !(PREFIX.starts_with(held) || SIGNATURE.starts_with(begun)) {
            return Err("no PROXY header");
        }
        if held.len() < FIXED {
            return Ok(None);
        }
        let size = FIXED + usize::from(u16::from_be_bytes([held[14], held[15]]));
        if size > LONGEST {
            return Err("a PROXY header of version 2 longer than 16384 bytes");
        }
        if held.len() < size {
            return Ok(None);
        }
        self.source = binary(held[12], held[13], &held[FIXED..size])?;
        Ok(Some(size - before))
    }
}

/// Read a header of version 1, without its end.
fn line(line: &[u8]) -> Result<Option<SocketAddr>, Wrong> {
    let mut words = line.split(|byte| *byte == b' ').skip(1);
    let kind = words.next().unwrap_or_default();
    if kind == b"UNKNOWN" {
        return Ok(None);
    }
    let six = kind == b"TCP6";
    if !six && kind != b"TCP4" {
        return Err(TORN_LINE);
    }
    let (source, _) = (host(words.next(), six)?, host(words.next(), six)?);
    let (from, _) = (port(words.next())?, port(words.next())?);
    if words.next().is_some() {
        return Err(TORN_LINE);
    }
    Ok(Some(SocketAddr::new(source, from)))
}

fn host(word: Option<&[u8]>, six: bool) -> Result<IpAddr, Wrong> {
    let text = word.and_then(|word| std::str::from_utf8(word).ok()).unwrap_or_default();
    let address =
        if six { text.parse::<Ipv6Addr>().ok().map(IpAddr::V6) } else { text.parse::<Ipv4Addr>().ok().map(IpAddr::V4) };
    address.ok_or(TORN_LINE)
}

fn port(word: Option<&[u8]>) -> Result<u16, Wrong> {
    let word = word.unwrap_or_default();
    let digits = word.iter().all(u8::is_ascii_digit);
    if !digits || word.len() > 5 || (word.len() > 1 && word[0] == b'0') {
        return Err(TORN_LINE);
    }
    std::str::from_utf8(word).ok().and_then(|text| text.parse().ok()).ok_or(TORN_LINE)
}

/// Read a header of version 2: its two bytes of meaning, and what it announced.
fn binary(meaning: u8, protocol: u8, rest: &[u8]) -> Result<Option<SocketAddr>, Wrong> {
    let (version, command) = (meaning >> 4, meaning & 15);
    let (family, transport) = (protocol >> 4, protocol & 15);
    if version != 2 || command > 1 || family > 3 || transport > 2 {
        return Err("a PROXY header of version 2 with an unknown version, command or protocol");
    }
    if command == 0 {
        return Ok(None);
    }
    let size = [0, 12, 36, 216][usize::from(family)];
    if rest.len() < size {
        return Err(TORN);
    }
    let number = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    Ok(match family {
        _ if transport == 0 => None,
        1 => Some(SocketAddr::new(Ipv4Addr::new(rest[0], rest[1], rest[2], rest[3]).into(), number(8))),
        2 => {
            let mut octets = [0; 16];
            octets.copy_from_slice(&rest[..16]);
            Some(SocketAddr::new(Ipv6Addr::from(octets).into(), number(32)))
        }
        _ => None,
    })
}
