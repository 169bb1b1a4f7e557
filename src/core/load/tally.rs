//! What came of a load so far.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::Latency;
use crate::core::errors::Result;
use crate::core::os::errors::{errno, is_transient};

/// Why a connection ended, or a datagram did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The system's number of an error.
    Os(i32),
    /// The server closed the connection.
    Closed,
    /// Something came that nobody had asked for.
    Unasked,
    /// What came is no frame of the codec.
    Corrupt,
}

/// As much of a wrong answer as is kept.
const KEPT: usize = 256;

/// The first wrong answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    /// What came, or the beginning of it.
    pub came: Vec<u8>,
    /// What was right, or the beginning of it; None where nothing, or anything, was.
    pub expected: Option<Vec<u8>>,
}

/// The counts and times of a load.
pub struct Tally {
    /// The first of the answers that were not the right ones.
    pub first_wrong: Option<Wrong>,
    /// Messages that began to be sent.
    pub sent: u64,
    /// Those that were answered rightly, in time.
    pub answered: u64,
    /// Answers that were not the right ones.
    pub wrong: u64,
    /// Messages whose answer did not come: their connection ended, or the time for it ran out.
    pub lost: u64,
    /// Right answers to datagrams that had been given up.
    pub late: u64,
    /// Right answers to datagrams that came once more.
    pub duplicates: u64,
    /// Bytes that the system took.
    pub bytes_sent: u64,
    /// Bytes that came.
    pub bytes_received: u64,
    /// What the server or the network did to connections, and how often.
    pub faults: BTreeMap<Fault, u64>,
    /// What this machine lacked, by the system's number of the error.
    pub local: BTreeMap<i32, u64>,
    /// From when a message was to be sent to its right answer.
    pub latency: Latency,
    /// How much later than the schedule said the load itself looked after a message.
    pub lag: Latency,
}

/// How far a load is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether the first message could be sent: all connections are open or have failed.
    pub begun: bool,
    /// Connections (of UDP, sockets) that were opened.
    pub opened: usize,
    /// Those that are still of use.
    pub alive: usize,
    /// Messages that wait for their answers.
    pub pending: u64,
    /// Messages that were due and were not sent.
    pub unsent: u64,
    /// How long messages were sent, so far.
    pub sending: Duration,
    /// How long it took from the first message to the last answer, or to the end of the sending.
    pub elapsed: Duration,
}

impl Tally {
    /// Nothing has happened.
    pub fn new() -> Result<Self> {
        Ok(Self {
            first_wrong: None,
            sent: 0,
            answered: 0,
            wrong: 0,
            lost: 0,
            late: 0,
            duplicates: 0,
            bytes_sent: 0,
            bytes_received: 0,
            faults: BTreeMap::new(),
            local: BTreeMap::new(),
            latency: Latency::new()?,
            lag: Latency::new()?,
        })
    }

    /// Keep what came if it is the first wrong answer.
    pub fn keep_wrong(&mut self, came: &[u8], expected: Option<&[u8]>) {
        if self.first_wrong.is_none() {
            let cut = |bytes: &[u8]| bytes[..bytes.len().min(KEPT)].to_vec();
            self.first_wrong = Some(Wrong { came: cut(came), expected: expected.map(cut) });
        }
    }

    /// Count what ended a connection.
    pub fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Count an error: true where it is the server's or the network's, false where this machine lacked something.
    pub fn blame(&mut self, error: &io::Error) -> bool {
        let code = errno(error);
        if is_transient(code) {
            *self.local.entry(code).or_default() += 1;
            return false;
        }
        self.fault(Fault::Os(code));
        true
    }
}
