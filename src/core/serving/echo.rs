//! The native echo server: what comes in goes out again, on threads that never touch Python.

use std::net::TcpListener;

use super::connection::Faults;
use super::links::{Closing, Links};
use super::reactor::{Plan, Reactor, Service};
use super::running::Running;
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

    fn ended(&mut self, links: &mut Links<()>, key: usize, now: u64) {
        if let Some(link) = links.get_mut(key) {
            link.machine.ended(now);
        }
    }

    fn relieved(&mut self, _: &mut Links<()>, _: usize, _: u64) {}

    fn closed(&mut self, _: Closing<()>) {}
}

/// Begin to echo with `workers` threads; the listener does not block.
pub fn start(listener: TcpListener, plan: Plan, workers: usize, faults: Option<Faults>) -> Result<Running> {
    let (control, loops) = Reactor::several(listener, plan, workers, faults, |_| Echo)?;
    Running::start("oxisock-echo", &control, loops)
}
