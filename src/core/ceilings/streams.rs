//! The least that a TCP server can do, as a measure for others: no limits, no timers, no end.

use std::io::{self, Read, Write};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::errors::Result;

const SLICE: Duration = Duration::from_millis(50);
const DOOR: Token = Token(usize::MAX);

/// Accept connections and hand those that may be read to `serve`, with a buffer, until `keep_going` says no.
pub fn raw_loop(
    listener: std::net::TcpListener,
    mut keep_going: impl FnMut() -> bool,
    mut serve: impl FnMut(&mut Slab<TcpStream>, &[usize], &mut [u8]),
) -> Result<()> {
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, DOOR, Interest::READABLE)?;
    let mut streams = Slab::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    let mut readable = Vec::new();
    while keep_going() {
        match poll.poll(&mut events, Some(SLICE)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
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
        serve(&mut streams, &readable, &mut buffer);
    }
    Ok(())
}

/// Echo with the least work that can be done.
pub fn raw_echo_loop(listener: std::net::TcpListener, keep_going: impl FnMut() -> bool) -> Result<()> {
    raw_loop(listener, keep_going, |streams, readable, buffer| {
        for &key in readable {
            let Some(stream) = streams.get_mut(key) else { continue };
            let ended = match stream.read(buffer) {
                Ok(0) => true,
                Ok(count) => stream.write_all(&buffer[..count]).is_err(),
                Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            };
            if ended {
                streams.remove(key);
            }
        }
    })
}
