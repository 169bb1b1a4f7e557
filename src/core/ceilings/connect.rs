//! What `connect` itself allows: a loop that asks every port of a host, with no scanner around it.
//!
//! The scanner is measured against it, so it has none of the scanner's truths: it counts a self-connect as open.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::thread;

use socket2::SockAddr;

use crate::core::errors::{Error, Result};
use crate::core::latch::panicked;
use crate::core::os::errors::{is_connected, is_under_way};
use crate::core::os::streams;

/// Count the ports from `first` to `last` that accept a connection, the ports dealt out to `threads` threads in turn.
///
/// A refused socket asks the next port: the second `connect` on it fetches the verdict of the first. Whatever has no
/// verdict by then counts as not open, so this is for hosts that answer at once: this machine.
pub fn run(host: IpAddr, first: u16, last: u16, threads: usize) -> Result<usize> {
    if threads == 0 {
        return Err(Error::Value("threads must be at least 1, not 0".into()));
    }
    let share = |number| Ok(ask_every_nth(host, (first..=last).skip(number).step_by(threads))?);
    let counts: Vec<Result<usize>> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|number| scope.spawn(move || share(number))).collect();
        let mine = share(0);
        let theirs = others.into_iter().map(|other| other.join().unwrap_or_else(|panic| Err(panicked(&*panic))));
        std::iter::once(mine).chain(theirs).collect()
    });
    counts.into_iter().sum()
}

fn ask_every_nth(host: IpAddr, ports: impl Iterator<Item = u16>) -> io::Result<usize> {
    let mut socket = streams::connecting((host, 0).into())?;
    let mut open = 0;
    for port in ports {
        let address = SockAddr::from(SocketAddr::new(host, port));
        let mut answer = socket.connect(&address);
        if answer.as_ref().is_err_and(is_under_way) {
            answer = socket.connect(&address);
        }
        match answer {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
            Err(error) if !is_connected(&error) => {}
            _ => open += 1,
        }
        socket = streams::connecting((host, 0).into())?;
    }
    Ok(open)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn it_counts_listeners_once_whatever_the_threads() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        for threads in [1, 3] {
            let open = run(Ipv4Addr::LOCALHOST.into(), port, port, threads).unwrap();
            assert_eq!(open, 1);
        }
        drop(listener);
    }

    #[test]
    fn no_threads_is_refused() {
        assert!(run(Ipv4Addr::LOCALHOST.into(), 1, 2, 0).is_err());
    }
}
