//! The sockets of probes under way: watched, and on Linux used again once their connect was given up or refused.

use std::io;
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use slab::Slab;
use socket2::{SockAddr, SockRef};

use super::engine::ProbeOrder;
use crate::core::os::errors::{is_about_before, is_under_way};

/// So many sockets may be at rest, as many as the largest window; more, where as many are under way.
const FEW: usize = 4096;
const NOBODY: usize = usize::MAX;

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    /// None while it is at rest.
    order: Option<ProbeOrder>,
}

/// Sockets by key, which is also their poll token.
///
/// On Linux the socket of a connect that was given up or refused can connect again, from another source port. That costs
/// half of a new socket. Each stays watched until it is closed, by its edges, so that those at rest say nothing.
#[derive(Debug, Default)]
pub(super) struct Connections {
    all: Slab<Connection>,
    /// Keys by the lower half of the engine's token.
    keys: Vec<usize>,
    at_rest: Vec<usize>,
}

impl Connections {
    /// Whether no probe is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.all.len() == self.at_rest.len()
    }

    /// Begin to connect with a socket at rest, and give its key; None where there is none that will do.
    pub(super) fn again(&mut self, address: SocketAddr) -> io::Result<Option<usize>> {
        let Some(key) = self.at_rest.pop() else { return Ok(None) };
        let connection = &mut self.all[key];
        if connection.address.is_ipv4() == address.is_ipv4() {
            connection.address = address;
            match self.ask(key) {
                Err(error) if is_under_way(&error) => return Ok(Some(key)),
                Err(error) if !is_about_before(&error) => {
                    self.all.remove(key);
                    return Err(error);
                }
                // That may mean what it was used for before.
                Ok(()) | Err(_) => {}
            }
        }
        self.all.remove(key);
        Ok(None)
    }

    /// Say `connect()`, which for one that is under way fetches what came of it.
    pub(super) fn ask(&self, key: usize) -> io::Result<()> {
        let connection = &self.all[key];
        SockRef::from(&connection.stream).connect(&SockAddr::from(connection.address))
    }

    /// Watch a connect that has begun, and give its key.
    pub(super) fn watch(&mut self, registry: &Registry, address: SocketAddr, stream: TcpStream) -> io::Result<usize> {
        let entry = self.all.vacant_entry();
        let key = entry.key();
        let connection = entry.insert(Connection { stream, address, order: None });
        let watched = registry.register(&mut connection.stream, Token(key), Interest::WRITABLE);
        if watched.is_err() {
            self.all.remove(key);
        }
        watched.map(|()| key)
    }

    /// Note what a connection that is under way was asked for.
    pub(super) fn assign(&mut self, key: usize, order: ProbeOrder) {
        let place = order.token as u32 as usize;
        if self.keys.len() <= place {
            self.keys.resize(place + 1, NOBODY);
        }
        self.keys[place] = key;
        self.all[key].order = Some(order);
    }

    /// What a connection was asked for, None where it is at rest or gone.
    pub(super) fn order(&self, key: usize) -> Option<ProbeOrder> {
        self.all.get(key)?.order
    }

    /// The error of a connection under way, if there is one, and whether it is connected.
    pub(super) fn verdict(&self, key: usize) -> io::Result<bool> {
        let stream = &self.all[key].stream;
        match stream.take_error() {
            Ok(None) => Ok(stream.peer_addr().is_ok()),
            Ok(Some(error)) | Err(error) => Err(error),
        }
    }

    /// Give up the probe of this token, if it is under way.
    pub(super) fn give_up(&mut self, token: u64) {
        let Some(&key) = self.keys.get(token as u32 as usize) else { return };
        if self.order(key).is_some_and(|order| order.token == token) {
            // Linux forgets a connect that is under way when it is told to shut down.
            let forgotten = cfg!(target_os = "linux") && self.all[key].stream.shutdown(Shutdown::Both).is_ok();
            self.rest(key, forgotten);
        }
    }

    /// Note that a connection was refused, and its error fetched.
    pub(super) fn refused(&mut self, key: usize) {
        // Linux says once more that nothing came of it, and then forgets it.
        let forgotten = cfg!(target_os = "linux")
            && self.ask(key).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionAborted);
        self.rest(key, forgotten);
    }

    /// Keep a socket whose connect was forgotten, close another.
    pub(super) fn rest(&mut self, key: usize, forgotten: bool) {
        if forgotten && self.at_rest.len() < FEW.max(self.all.len() / 2) {
            self.all[key].order = None;
            self.at_rest.push(key);
        } else {
            self.all.remove(key);
        }
    }

    /// Take a connection out, watched no longer.
    pub(super) fn take(&mut self, registry: &Registry, key: usize) -> TcpStream {
        let mut stream = self.all.remove(key).stream;
        // It may be watched anew for something else.
        let _ = registry.deregister(&mut stream);
        stream
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use mio::{Events, Poll};
    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::core::os::streams;

    fn order(token: u64) -> ProbeOrder {
        ProbeOrder { token, host: 0, port: 1, repeat: 0 }
    }

    fn begin(connections: &mut Connections, poll: &Poll, address: SocketAddr, token: u64) -> usize {
        let socket = streams::connecting(address).unwrap();
        assert!(is_under_way(&socket.connect(&address.into()).unwrap_err()));
        let key = connections.watch(poll.registry(), address, TcpStream::from_std(socket.into())).unwrap();
        connections.assign(key, order(token));
        key
    }

    fn wait_for(poll: &mut Poll, key: usize) {
        let mut events = Events::with_capacity(16);
        for _ in 0..100 {
            poll.poll(&mut events, Some(Duration::from_millis(200))).unwrap();
            if events.iter().any(|event| event.token() == Token(key)) {
                return;
            }
        }
        panic!("nothing was heard");
    }

    /// Somebody who refuses, for as long as the socket lives.
    fn refusing() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    #[test]
    fn the_socket_of_a_connect_that_was_given_up_or_refused_is_used_again() {
        let (silent, full) = refusing();
        silent.listen(0).unwrap();
        let fillers: Vec<_> = (0..4).map(|_| streams::connecting(full).unwrap()).collect();
        for filler in &fillers {
            let _ = filler.connect(&full.into());
        }
        let (_bound, closed) = refusing();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut poll, mut connections) = (Poll::new().unwrap(), Connections::default());

        let key = begin(&mut connections, &poll, full, 1);
        let port = connections.all[key].stream.local_addr().unwrap();
        connections.give_up(2);
        assert!(connections.at_rest.is_empty());
        connections.give_up(1);
        assert!(connections.is_idle() && connections.order(key).is_none());

        assert_eq!(connections.again(closed).unwrap(), Some(key));
        connections.assign(key, order(3));
        assert_ne!(connections.all[key].stream.local_addr().unwrap(), port);
        wait_for(&mut poll, key);
        assert_eq!(connections.verdict(key).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        connections.refused(key);

        let address = listener.local_addr().unwrap();
        assert_eq!(connections.again(address).unwrap(), Some(key));
        connections.assign(key, order(4));
        wait_for(&mut poll, key);
        assert!(connections.verdict(key).unwrap());
        assert_eq!(connections.take(poll.registry(), key).peer_addr().unwrap(), address);
    }

    #[test]
    fn an_answer_that_came_as_it_was_given_up_is_not_taken_for_the_next() {
        let (_bound, closed) = refusing();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut poll, mut connections) = (Poll::new().unwrap(), Connections::default());
        for (token, answering) in [(1, listener.local_addr().unwrap()), (2, closed)] {
            let key = begin(&mut connections, &poll, answering, token);
            wait_for(&mut poll, key); // it is answered, and nobody looks
            connections.give_up(token);
            assert_eq!(connections.again(closed).unwrap(), None);
            assert!(connections.is_idle() && connections.all.is_empty());
        }
    }
}
