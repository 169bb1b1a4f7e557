//! The least that a chat server can do.

use std::io::{self, Read, Write};
use std::net::TcpListener;

use super::streams::serve;
use crate::core::errors::Result;

/// Send every chunk to everybody else, joined into one send for each of a turn, until `keep_going` says no.
pub fn run(listener: TcpListener, keep_going: impl FnMut() -> bool) -> Result<()> {
    serve(listener, keep_going, |streams, readable, buffer| {
        let (mut filled, mut talker) = (0, usize::MAX);
        for &key in readable {
            match streams.get_mut(key).map(|stream| stream.read(&mut buffer[filled..])) {
                Some(Ok(0)) => {
                    streams.remove(key);
                }
                Some(Ok(count)) => (filled, talker) = (filled + count, key),
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Some(Err(_)) => {
                    streams.remove(key);
                }
                None => {}
            }
        }
        if filled > 0 {
            for (key, stream) in streams {
                if key != talker {
                    // Whoever does not take it at once misses it: least is least.
                    let _ = stream.write(&buffer[..filled]);
                }
            }
        }
    })
}
