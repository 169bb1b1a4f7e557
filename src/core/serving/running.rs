//! Reactors under way on threads of their own, and how they ended.

use std::sync::Arc;
use std::time::Duration;

use super::control::Control;
use super::reactor::Loops;
use super::service::Service;
use crate::core::errors::Result;
use crate::core::latch::Latch;

/// The threads of a server; dropping this begins its stop.
pub struct Running {
    /// What its reactors share.
    pub control: Arc<Control>,
    latch: Arc<Latch>,
}

impl Running {
    /// Turn each of these on a thread of its own, named by its number.
    pub fn start<S>(name: impl Fn(usize) -> String, control: &Arc<Control>, loops: Loops<S>) -> Result<Self>
    where
        S: Service<State: Send> + Send + 'static,
    {
        let running = Self { control: Arc::clone(control), latch: Arc::default() };
        let spawned = loops.into_iter().enumerate().try_for_each(|(number, (poll, reactor))| {
            running.latch.spawn(name(number), move || Ok(reactor.run(poll)?))
        });
        if let Err(error) = spawned {
            // Where a thread cannot be had, those that could end first: nothing is left of them.
            running.control.begin_stop(0);
            running.latch.join();
            return Err(error.into());
        }
        Ok(running)
    }

    /// Wait at most `timeout`; say whether all have ended. A loop that failed ends the others; it is told once, as an error.
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        self.latch.wait(timeout)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.control.begin_stop(0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::super::links::Links;
    use super::super::reactor::Reactor;
    use super::super::service::Plan;
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// Answers one byte with itself, and another by a panic.
    struct Mine;

    impl Service for Mine {
        type State = ();

        fn received(&mut self, links: &mut Links<()>, key: usize, data: &[u8], now: u64) {
            assert!(data != b"!", "stepped on");
            links.send(key, data, now);
        }
    }

    #[test]
    fn a_panic_in_one_loop_ends_the_server_and_is_told() {
        for victim in 0..3 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let address = listener.local_addr().unwrap();
            let plan = Plan::unlimited();
            let (control, loops) = Reactor::several(listener, plan, 3, None, |_| Mine).unwrap();
            let running = Running::start(|number| format!("mine-{number}"), &control, loops).unwrap();
            let mut clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
            for client in &mut clients {
                client.write_all(b"?").unwrap();
                client.read_exact(&mut [0; 1]).unwrap();
            }
            clients[victim].write_all(b"!").unwrap();
            let error = running.wait(LIMIT).unwrap_err();
            assert!(error.to_string().contains("stepped on"), "{error}");
            assert!(running.wait(LIMIT).unwrap());
            let counters = control.stats();
            assert_eq!((counters.accepted, counters.active, counters.closed), (3, 0, 3));
            assert!(TcpStream::connect(address).is_err());
        }
    }
}
