//! What a reactor asks of the service on it: what becomes of the bytes, within which limits.

use std::net::SocketAddr;

use super::connection::{Limits, NEVER};
use super::links::{Closing, Links};

/// What the reactors of a server are to keep.
#[derive(Clone, Debug)]
pub struct Plan {
    /// At most so many at once; more wait in the backlog.
    pub max_connections: u64,
    /// At most so many at once from one address, `NEVER` for no limit; more are closed.
    pub max_per_address: u64,
    /// The limits of each.
    pub limits: Limits,
    /// Send small writes at once.
    pub nodelay: bool,
    /// Let the system probe silent peers.
    pub keepalive: bool,
    /// Addresses from which a PROXY header comes first, as ranges of `addresses::number_of`.
    pub proxies: Vec<(u128, u128)>,
    /// How long that may take.
    pub header_timeout: u64,
    /// Whether whoever is called with what comes in speaks TLS.
    pub secure: bool,
    /// How long a handshake may take.
    pub handshake_timeout: u64,
}

#[cfg(test)]
impl Plan {
    /// A server of tests, which has next to no limits.
    pub(crate) fn unlimited() -> Self {
        Self {
            max_connections: 100,
            max_per_address: NEVER,
            limits: Limits { idle_timeout: NEVER, write_timeout: NEVER, max_buffered: 1 << 20 },
            nodelay: true,
            keepalive: false,
            proxies: Vec::new(),
            header_timeout: NEVER,
            secure: false,
            handshake_timeout: NEVER,
        }
    }
}

/// What becomes of the bytes: called by the loop, never at the same time twice.
pub trait Service {
    /// What it keeps for each connection.
    type State: Default;
    /// At most so many bytes of one read.
    const CHUNK: usize = 256 * 1024;
    /// For so long, in nanoseconds, connections are read in one turn; the others' turn is the next one.
    const PATIENCE: u64 = NEVER;
    /// Bytes came in.
    fn received(&mut self, links: &mut Links<Self::State>, key: usize, data: &[u8], now: u64);
    /// The peer will send no more.
    fn ended(&mut self, links: &mut Links<Self::State>, key: usize, now: u64) {
        if let Some(link) = links.get_mut(key) {
            link.machine.ended(now);
        }
    }
    /// There is room to write again for a link that is `held`.
    fn relieved(&mut self, _links: &mut Links<Self::State>, _key: usize, _now: u64) {}
    /// All was said but for a last word, which the service wants to say.
    fn parting(&mut self, _links: &mut Links<Self::State>, _key: usize, _now: u64) {}
    /// The connection is gone.
    fn closed(&mut self, _link: Closing<Self::State>) {}
    /// Somebody has come.
    fn opened(&mut self, _links: &mut Links<Self::State>, _key: usize, _now: u64) {}
    /// What to say to a newcomer who cannot be taken in, if so.
    fn refusal(&self, _peer: SocketAddr, _now: u64) -> Option<&'static [u8]> {
        None
    }
    /// Who is in has had a turn to be read of what came in before `heard`; newcomers are let in next.
    fn before_newcomers(&mut self, _links: &mut Links<Self::State>, _now: u64, _heard: u64) {}
    /// All that was ready has been dealt with; called again until no connection was touched.
    ///
    /// What came in before `heard` was among it, so timers go by that.
    fn turned(&mut self, _links: &mut Links<Self::State>, _now: u64, _heard: u64) {}
    /// A stop has begun: the connections will be told to finish.
    fn stopping(&mut self, _links: &mut Links<Self::State>, _now: u64) {}
    /// When `turned` is to be called at the latest.
    fn deadline(&self) -> u64 {
        NEVER
    }
    /// At most so many are let in in one turn.
    fn newcomers(&self) -> u64 {
        NEVER
    }
    /// It has enough to deal with: what else is ready is read in the next turn.
    fn full(&self) -> bool {
        false
    }
}
