//! The native echo server: what comes in goes out again, on threads that never touch Python.

use std::net::TcpListener;

use super::connection::Faults;
use super::links::Links;
use super::reactor::Reactor;
use super::running::Running;
use super::service::{Plan, Service};
use crate::core::errors::Result;

/// The service: every byte is a message of its own and its own answer.
struct Echo;

impl Service for Echo {
    type State = ();

    fn received(&mut self, links: &mut Links<()>, key: usize, data: &[u8], now: u64) {
        let Some(link) = links.get_mut(key) else {
            return;
        };
        link.machine.active(now);
        if !link.machine.swallow() {
            links.send(key, data, now);
        }
    }
}

/// Begin to echo with `workers` threads; the listener does not block.
pub fn start(listener: TcpListener, plan: Plan, workers: usize, faults: Option<Faults>) -> Result<Running> {
    let (control, loops) = Reactor::several(listener, plan, workers, faults, |_| Echo)?;
    Running::start(|number| format!("oxisock-echo-{number}"), &control, loops)
}
