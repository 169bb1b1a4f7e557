//! The UDP echo server: a thread of its own that sends every datagram back after a prefix.

use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;

use super::{Options, Reactor, Shared};
use crate::core::errors::Result;
use crate::core::latch::Latch;

/// An echo server on a thread of its own; dropping it does not end it, [`Shared::end`] does.
pub struct Echo {
    shared: Arc<Shared>,
    latch: Arc<Latch>,
}

impl Echo {
    /// Takes over a bound socket and begins to answer.
    pub fn start(socket: Socket, options: Options, prefix: &[u8]) -> Result<Self> {
        let mut reactor = Reactor::new(socket, options, prefix)?;
        let echo = Self { shared: reactor.shared(), latch: Arc::default() };
        echo.latch.spawn("oxisock-udp-echo".to_owned(), move || {
            while reactor.echo() {}
            Ok(())
        })?;
        Ok(echo)
    }

    /// What counts it and ends it.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Waits at most `limit` for its end; says whether it came. The socket is closed by then. A failure is told once.
    pub fn wait(&self, limit: Duration) -> Result<bool> {
        self.latch.wait(limit)
    }
}
