//! The UDP echo server: a thread of its own that sends every datagram back after a prefix.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::Socket;

use super::{Options, Shared, Turner};

/// An echo server under way; dropping it does not end it, [`Shared::end`] does.
pub struct Echo {
    shared: Arc<Shared>,
    done: Arc<(Mutex<bool>, Condvar)>,
}

impl Echo {
    /// Takes over a bound socket and begins to answer.
    pub fn start(socket: Socket, options: Options, prefix: &[u8]) -> io::Result<Self> {
        let mut turner = Turner::new(socket, options, prefix)?;
        let shared = turner.shared();
        let done = Arc::new((Mutex::new(false), Condvar::new()));
        let told = Arc::clone(&done);
        thread::Builder::new().name("oxisock-udp-echo".to_owned()).spawn(move || {
            while turner.echo() {}
            drop(turner);
            *told.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            told.1.notify_all();
        })?;
        Ok(Self { shared, done })
    }

    /// What counts it and ends it.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Waits at most `limit` for its end; says whether it came. The socket is closed by then.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> bool {
        let (flag, bell) = &*self.done;
        let guard = flag.lock().unwrap_or_else(PoisonError::into_inner);
        let result = bell.wait_timeout_while(guard, limit, |done| !*done).unwrap_or_else(PoisonError::into_inner);
        *result.0
    }
}
