//! The life of one TCP connection as a machine: events and time in, what to do next out. Holds no bytes and no socket.
//!
//! A driver tells it what happened (`received`, `queue`, `wrote`, ...) with the time in nanoseconds, and then asks what
//! to do: read at most `room()` bytes, write at most `allowance()` bytes, call `tick` at `deadline()`, and close the
//! socket once `closed` is not `Open`. It is the twin of `oxisock.pure.serving.connection`, and makes the same trace.

use crate::core::splitmix;
pub use crate::core::time::NEVER;

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Closed {
    /// It is not.
    Open = 0,
    /// All was said.
    Done,
    /// No message came.
    Idle,
    /// The peer would not read.
    Stalled,
    /// The network or the peer broke it.
    Lost,
    /// A stop cut it.
    Cut,
    /// A planned fault reset it.
    Reset,
    /// What has to come first did not, or not in time.
    Broken,
    /// It is known by now from whom it comes, and that one is not let in.
    Refused,
}

/// The limits of a connection; times in nanoseconds, `NEVER` for no limit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest time between two complete messages.
    pub idle_timeout: u64,
    /// The longest time without progress in writing.
    pub write_timeout: u64,
    /// With so many bytes to write, nothing more is read.
    pub max_buffered: usize,
}

/// So many inputs without a message are forgiven to who is late, for the server may be late itself.
const FRUITLESS: u32 = 64;

/// Faults made on purpose.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// The most bytes of one write, 0 for any.
    pub cut: usize,
    /// The pause before each write, in nanoseconds.
    pub delay: u64,
    /// The bytes after which the connection is reset, `NEVER` for none.
    pub reset_after: u64,
    /// The chance, out of 2^32, that a piece that came in is swallowed.
    pub drop: u64,
    /// Where the chances start from.
    pub seed: u64,
}

impl Faults {
    /// No faults.
    pub const NONE: Self = Self { cut: 0, delay: 0, reset_after: NEVER, drop: 0, seed: 0 };
}

/// The decisions of one connection.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub struct Connection {
    limits: Limits,
    faults: Faults,
    closed: Closed,
    now: u64,
    // When the last complete message came, or the last answer was out.
    last: u64,
    // When the peer last took bytes, or began to have some waiting.
    progress: u64,
    next_write: u64,
    queued: usize,
    // Those of the bytes that wait up to the end of the last answer.
    answers: usize,
    written: u64,
    // Whether an answer is being made.
    owed: bool,
    paused: bool,
    eof: bool,
    finishing: bool,
    // When what has to come first is to be there.
    due: u64,
    // What its absence then comes to; `Open` where nothing has to come first.
    late: Closed,
    // Whether a last word is to be said before the end.
    farewell: bool,
    // Why it will be closed when that is said.
    parting: Closed,
    // What `last` was when input without a message came too late for the first time.
    doubted: u64,
    // How often that has happened since.
    fruitless: u32,
    // When that may be its end.
    overdue: u64,
}

impl Connection {
    /// A connection that was accepted just now.
    #[must_use]
    pub fn new(now: u64, limits: Limits, faults: Faults) -> Self {
        Self {
            limits,
            faults,
            closed: Closed::Open,
            now,
            last: now,
            progress: now,
            next_write: now,
            queued: 0,
            answers: 0,
            written: 0,
            owed: false,
            paused: false,
            eof: false,
            finishing: false,
            due: NEVER,
            late: Closed::Open,
            farewell: false,
            parting: Closed::Open,
            doubted: NEVER,
            fruitless: 0,
            overdue: NEVER,
        }
    }

    /// Something has to come first, by the time `due`; else it is closed for the reason `late`.
    pub fn require_by(&mut self, due: u64, late: Closed, now: u64) {
        self.now = now;
        self.due = due;
        self.late = late;
    }

    /// Who serves it has a last word to say: an end without force waits for that.
    pub fn owe_farewell(&mut self, now: u64) {
        self.now = now;
        self.farewell = true;
    }

    /// It has come, and the conversation begins.
    pub fn begin(&mut self, now: u64) {
        self.now = now;
        (self.due, self.late) = (NEVER, Closed::Open);
        self.last = now;
    }

    /// A complete message came (to an echo server: a byte).
    pub fn active(&mut self, now: u64) {
        self.now = now;
        self.last = now;
        self.answers = self.queued;
    }

    /// What came in was handed to a handler: an answer is owed, and nothing is read until it is made.
    pub fn deliver(&mut self, now: u64) {
        self.now = now;
        self.owed = true;
    }

    /// The answer owed is made (and queued, where there was something to say); it was to so many messages.
    pub fn answered(&mut self, messages: u64, now: u64) {
        self.now = now;
        self.owed = false;
        if messages > 0 {
            self.last = now;
            self.answers = self.queued;
        }
        if now >= self.due {
            // While the answer was made; that it is no conversation yet is what it says.
            self.close_at_once(self.late);
        } else if self.queued == 0 {
            self.settle();
        }
        if messages == 0 {
            self.doubt(now);
        }
    }

    /// So many bytes wait to be written; what is queued while an answer is owed may turn out to be none.
    pub fn queue(&mut self, size: usize, now: u64) {
        self.now = now;
        if size == 0 {
            return;
        }
        if self.queued == 0 {
            self.progress = now;
            self.next_write = now.saturating_add(self.faults.delay);
        }
        self.queued += size;
        if !self.owed {
            self.answers = self.queued;
        }
        if self.queued >= self.limits.max_buffered {
            self.paused = true;
        }
    }

    /// The socket took so many of the bytes that wait.
    pub fn wrote(&mut self, size: usize, now: u64) {
        self.now = now;
        self.queued -= size;
        self.written += size as u64;
        self.progress = now;
        self.next_write = now.saturating_add(self.faults.delay);
        if self.queued <= self.limits.max_buffered / 2 {
            self.paused = false;
        }
        if self.written >= self.faults.reset_after {
            self.close(Closed::Reset);
            return;
        }
        if self.answers > 0 {
            self.answers = self.answers.saturating_sub(size);
            if self.answers == 0 {
                self.last = now;
            }
        }
        if self.queued == 0 && !self.owed {
            self.settle();
        }
    }

    /// The peer will send no more.
    pub fn ended(&mut self, now: u64) {
        self.now = now;
        self.eof = true;
        if self.queued == 0 && !self.owed {
            self.close(Closed::Done);
        }
    }

    /// Read no more, and close when what is owed is answered and written.
    pub fn finish(&mut self, now: u64) {
        self.now = now;
        self.finishing = true;
        if self.queued == 0 && !self.owed {
            self.close(Closed::Done);
        }
    }

    /// End at once, for `Lost`, `Cut`, `Broken` or `Refused`; to cut who is parting takes nothing from anybody.
    pub fn abort(&mut self, reason: Closed, now: u64) {
        self.now = now;
        let parted = reason == Closed::Cut && self.parting != Closed::Open;
        self.close_at_once(if parted { self.parting } else { reason });
    }

    /// Time has passed: judge the timers.
    pub fn tick(&mut self, now: u64) {
        self.now = now;
        if now >= self.due && !self.owed {
            self.close_at_once(self.late);
        } else if self.queued > 0 && now >= self.stall_deadline() {
            self.close(Closed::Stalled);
        } else if now >= self.idle_deadline() {
            self.close(Closed::Idle);
        }
    }

    /// Decide, once, whether to ask for the last word now; it is owed as an answer is.
    pub fn parts(&mut self) -> bool {
        let asks = self.farewell && self.parting != Closed::Open;
        self.farewell &= !asks;
        asks
    }

    /// Decide whether the piece that just came in is dropped on purpose.
    pub fn swallow(&mut self) -> bool {
        if self.faults.drop == 0 {
            return false;
        }
        let chance = splitmix::mix(self.faults.seed) >> 32;
        self.faults.seed = self.faults.seed.wrapping_add(splitmix::STEP);
        chance < self.faults.drop
    }

    /// How many bytes may be read now; 0 is not to read.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.closed != Closed::Open || self.eof || self.finishing || self.paused || self.owed {
            return 0;
        }
        self.limits.max_buffered - self.queued
    }

    /// How many bytes may be written now; 0 is not to write.
    #[must_use]
    pub fn allowance(&self) -> usize {
        if self.closed != Closed::Open || self.now < self.next_write {
            return 0;
        }
        let left = self.faults.reset_after - self.written;
        let size = self.queued.min(usize::try_from(left).unwrap_or(usize::MAX));
        if self.faults.cut == 0 { size } else { size.min(self.faults.cut) }
    }

    /// The time at which `tick` has something to judge, or a delayed write may go out.
    #[must_use]
    pub fn deadline(&self) -> u64 {
        let due = if self.owed { NEVER } else { self.due.min(self.idle_deadline()) };
        if self.closed != Closed::Open {
            NEVER
        } else if self.queued > 0 {
            due.min(if self.now < self.next_write { self.next_write } else { self.stall_deadline() })
        } else {
            due
        }
    }

    /// Why the connection is closed, or that it is not.
    #[must_use]
    pub fn closed(&self) -> Closed {
        self.closed
    }

    /// How many bytes wait to be written.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// How many bytes the socket took in all.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether an answer is being made.
    #[must_use]
    pub fn owed(&self) -> bool {
        self.owed
    }

    /// Whether something has to come first, and neither came nor was given up.
    #[must_use]
    pub fn expecting(&self) -> bool {
        self.late != Closed::Open && !self.finishing
    }

    /// Whether the peer said that it will send no more.
    #[must_use]
    pub fn eof(&self) -> bool {
        self.eof
    }

    /// Whether so much waits to be written that nothing more is to be read or answered for now.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.paused
    }

    /// When it has said nothing for too long; that is not asked while it is answered, or near its end.
    fn idle_deadline(&self) -> u64 {
        if self.owed || self.answers > 0 || self.eof || self.finishing || self.parting != Closed::Open {
            return NEVER;
        }
        (self.last + self.limits.idle_timeout).min(NEVER)
    }

    /// Input came that held no message: whoever goes on with that for too long is as idle as who is silent.
    ///
    /// A timer does not find him if his next input is always there before it is judged. It may also be the server that
    /// was late, and what waited meanwhile has its time: it is read in a few pieces, and has as long again.
    fn doubt(&mut self, now: u64) {
        if now < self.idle_deadline() {
            return;
        }
        if self.doubted != self.last {
            (self.doubted, self.fruitless) = (self.last, 0);
            self.overdue = now.saturating_add(self.limits.idle_timeout).min(NEVER);
        }
        self.fruitless = self.fruitless.saturating_add(1);
        if self.fruitless > FRUITLESS && now >= self.overdue {
            self.close(Closed::Idle);
        }
    }

    fn stall_deadline(&self) -> u64 {
        (self.progress.max(self.next_write) + self.limits.write_timeout).min(NEVER)
    }

    /// Nothing is owed any more: after the end of the input that is the end.
    fn settle(&mut self) {
        if self.parting != Closed::Open {
            self.close(self.parting);
        } else if self.eof || self.finishing {
            self.close(Closed::Done);
        }
    }

    fn close(&mut self, reason: Closed) {
        if !(self.farewell && matches!(reason, Closed::Done | Closed::Idle)) {
            self.close_at_once(reason);
        } else if self.closed == Closed::Open {
            self.parting = reason;
            self.owed = true;
        }
    }

    fn close_at_once(&mut self, reason: Closed) {
        if self.closed == Closed::Open {
            self.closed = reason;
        }
    }
}
