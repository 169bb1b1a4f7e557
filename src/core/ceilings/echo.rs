//! The least that an echo server can do.

use std::io::{self, Read, Write};
use std::net::TcpListener;

use super::streams::serve;
use crate::core::errors::Result;

/// Send every chunk back, until `keep_going` says no.
pub fn run(listener: TcpListener, keep_going: impl FnMut() -> bool) -> Result<()> {
    serve(listener, keep_going, |streams, readable, buffer| {
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
