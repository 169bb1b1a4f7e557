//! The least that a UDP echo server can do: no counters, and no patience with errors.

use std::io::{self, ErrorKind};
use std::time::Duration;

use socket2::Socket;

use crate::core::os::bell::wait;
use crate::core::os::datagrams::{self, Inbox, Outgoing};

const SLICE: Duration = Duration::from_millis(50);
const MAX_DATAGRAM: usize = 65535;
const RECEIVE_BUFFER: usize = 4 << 20;

/// Send every datagram back after a prefix, a batch at a time, until `keep_going` says no.
pub fn run(socket: &Socket, prefix: &[u8], mut keep_going: impl FnMut() -> bool) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    datagrams::prepare(socket, false)?;
    let mut inbox = Inbox::new(MAX_DATAGRAM, prefix)?;
    while keep_going() {
        inbox.clear();
        match datagrams::receive(socket, &mut inbox) {
            Ok(()) => answer(socket, &inbox)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wait(Some((socket, false)), None, Some(SLICE))?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn answer(socket: &Socket, inbox: &Inbox) -> io::Result<()> {
    let answers = inbox.arrivals().iter();
    let answers: Vec<_> =
        answers.map(|each| Outgoing { peer: each.peer, local: None, data: inbox.prefixed(each) }).collect();
    let mut left = answers.as_slice();
    while !left.is_empty() {
        match datagrams::send(socket, left) {
            Ok(sent) => left = &left[sent..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wait(Some((socket, true)), None, Some(SLICE))?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
