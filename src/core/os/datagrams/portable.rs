//! One datagram at a time, for systems without batches.
//!
//! Replies leave from the address that the system picks, and an ICMP error is what some later call fails with; the
//! BSDs and macOS tell it only to sockets that are connected, which these are not.

use std::io;
use std::mem::MaybeUninit;

use socket2::{SockAddr, Socket};

use super::{Arrival, BATCH, Inbox, Outgoing};
use crate::core::os::errors::of_a_datagram;

/// Whether [`reap`] counts ICMP errors exactly, so that errors of other calls need not be counted.
pub const REAPS: bool = false;

/// Nothing to ask for.
pub fn prepare(_: &Socket, _: bool) -> io::Result<()> {
    Ok(())
}

/// Receives as many datagrams as there are, up to a batch, without waiting.
pub fn receive(socket: &Socket, inbox: &mut Inbox) -> io::Result<()> {
    let mut found = Vec::with_capacity(BATCH);
    let mut result = Ok(());
    for (slot, room) in inbox.slots().take(BATCH).enumerate() {
        match receive_one(socket, room) {
            Ok((len, truncated, from)) => {
                if let Some(peer) = from.as_socket() {
                    found.push(Arrival { slot, len, truncated, peer, local: None });
                }
            }
            Err(error) => {
                // What came before it counts; the next call meets the error again, if it stays.
                if found.is_empty() {
                    result = Err(error);
                }
                break;
            }
        }
    }
    inbox.arrivals.extend(found);
    result
}

fn receive_one(socket: &Socket, room: &mut [u8]) -> io::Result<(usize, bool, SockAddr)> {
    let len = room.len();
    // SAFETY: bytes that are initialised stay so: the system only writes bytes here.
    let room = unsafe { std::slice::from_raw_parts_mut(room.as_mut_ptr().cast::<MaybeUninit<u8>>(), len) };
    let mut rooms = [socket2::MaybeUninitSlice::new(room)];
    let (received, flags, from) = socket.recv_from_vectored(&mut rooms).map_err(of_a_datagram)?;
    // One that was cut has filled its room, which not every Windows says.
    Ok((if flags.is_truncated() { len } else { received }, flags.is_truncated(), from))
}

/// Sends as many of at most a batch as the system takes without waiting; gives their number, at least one.
pub fn send(socket: &Socket, out: &[Outgoing<'_>]) -> io::Result<usize> {
    for (sent, one) in out.iter().enumerate() {
        if let Err(error) = socket.send_to(one.data, &SockAddr::from(one.peer)) {
            return if sent == 0 { Err(error) } else { Ok(sent) };
        }
    }
    Ok(out.len())
}

/// There is no queue of errors.
#[must_use]
pub fn reap(_: &Socket) -> usize {
    0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::Ipv4Addr;

    use socket2::{Domain, Type};

    use super::*;
    use crate::core::os::errors::is_too_long;

    fn socket() -> (Socket, std::net::SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        prepare(&socket, true).unwrap();
        socket.bind(&SockAddr::from(std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    #[test]
    fn what_is_sent_comes_in_cut_where_it_is_too_long() {
        let ((one, from), (other, to)) = (socket(), socket());
        let payloads: [&[u8]; 4] = [b"", b"12345", b"123456", b"x"];
        let out: Vec<_> = payloads.iter().map(|&data| Outgoing { peer: to, local: None, data }).collect();
        assert_eq!(send(&one, &out).unwrap(), 4);
        let mut inbox = Inbox::new(5, b"ACK: ").unwrap();
        receive(&other, &mut inbox).unwrap();
        let seen: Vec<_> = inbox.arrivals().iter().map(|each| (inbox.data(each), each.truncated, each.peer)).collect();
        let expected: [(&[u8], bool); 4] = [(b"", false), (b"12345", false), (b"12345", true), (b"x", false)];
        assert_eq!(seen, expected.map(|(data, truncated)| (data, truncated, from)));
        assert_eq!(inbox.prefixed(&inbox.arrivals()[3]), b"ACK: x");
        inbox.arrivals.clear();
        assert_eq!(receive(&other, &mut inbox).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!((reap(&other), REAPS), (0, false));
    }

    #[test]
    fn an_error_in_the_middle_tells_what_left_before_it() {
        let ((one, _), (_other, peer)) = (socket(), socket());
        let long = vec![0; 70_000];
        let out: Vec<_> = [b"x", &long[..]].iter().map(|&data| Outgoing { peer, local: None, data }).collect();
        assert_eq!(send(&one, &out).unwrap(), 1);
        assert!(is_too_long(&send(&one, &out[1..]).unwrap_err()));
    }
}
