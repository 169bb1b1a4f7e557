//! The least loop around a TCP server: accept, poll, read.

use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::core::errors::Result;
use crate::core::os::waiting;

const SLICE: Duration = Duration::from_millis(50);
const DOOR: Token = Token(usize::MAX);

/// Accept connections and hand those that may be read to `answer`, with a buffer, until `keep_going` says no.
pub(super) fn serve(
    listener: std::net::TcpListener,
    mut keep_going: impl FnMut() -> bool,
    mut answer: impl FnMut(&mut Slab<TcpStream>, &[usize], &mut [u8]),
) -> Result<()> {
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, DOOR, Interest::READABLE)?;
    let mut streams = Slab::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    let mut readable = Vec::new();
    while keep_going() {
        waiting::select(&mut poll, &mut events, Some(SLICE))?;
        readable.clear();
        for event in &events {
            if event.token() != DOOR {
                readable.push(event.token().0);
                continue;
            }
            while let Ok((mut stream, _)) = listener.accept() {
                stream.set_nodelay(true)?;
                let entry = streams.vacant_entry();
                poll.registry().register(&mut stream, Token(entry.key()), Interest::READABLE)?;
                entry.insert(stream);
            }
        }
        answer(&mut streams, &readable, &mut buffer);
    }
    Ok(())
}
