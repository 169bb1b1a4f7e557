//! Canaries of the path: they tell what the way to hosts that are not heard bears, and which hosts are asked anew.

use super::super::host::{Ask, Phase};
use super::super::{Answer, SENT, TraceEvent};
use super::{Flight, ProbeOrder, ScanEngine, WITNESS};

impl ScanEngine {
    /// Ask a port of which it is known that it answers.
    pub(super) fn ask_witness(&mut self, host: u64, port: u16, now: i64) -> ProbeOrder {
        let ask = Ask { port, repeat: 0, canary: true };
        let flight =
            Flight { generation: 0, slot: WITNESS, ask, sent_at: now, small: false, windowed: false, listening: false };
        let token = self.take_off(flight);
        self.path.witnesses.left(token, host, now);
        self.trace_witness(now, host, port, SENT);
        ProbeOrder { token, host, port, repeat: 0 }
    }

    pub(super) fn witness_answered(&mut self, token: u64, ask: Ask, what: Answer, now: i64) {
        self.release(token);
        self.open -= 1;
        let answered = matches!(what, Answer::SynAck | Answer::Refused);
        if let Answer::Local(_) | Answer::Lasting(_) | Answer::Broadcast | Answer::Multicast = what {
            self.tally.local_errors += 1;
        }
        if let Some(host) = self.path.witnesses.ended(token, answered, now) {
            self.trace_witness(now, host, ask.port, what.code());
        }
    }

    /// Give up the canaries whose time is over, and follow what all of them say.
    pub(super) fn watch_path(&mut self, now: i64) {
        let doubtful = self.path.is_in_doubt();
        while let Some(over) = self.path.witnesses.over(now) {
            self.path.count(&over);
            if over.unanswered
                && let Some(flight) = self.flight(over.token)
            {
                let port = flight.ask.port;
                self.tally.drops += 1;
                self.forget(over.token);
                self.trace_witness(now, over.host, port, Answer::NoResponse.code());
            }
        }
        let slowed = self.path.review(now, self.tally.probes);
        let settled = doubtful && !self.path.is_in_doubt();
        if !slowed && !settled {
            return;
        }
        let mut following: Vec<(u64, u32)> = Vec::new();
        for (slot, host) in self.hosts.iter().enumerate() {
            if let Some(host) = host
                && host.link.is_none()
            {
                following.push((host.index, slot as u32));
            }
        }
        following.sort_unstable();
        let since = self.path.doubted_since;
        for (_, slot) in following {
            let Some(host) = self.hosts[slot as usize].as_mut() else { continue };
            if slowed && host.last_asked >= since {
                if host.up {
                    host.doubted = since..now;
                    self.ask_anew(slot);
                } else {
                    self.begin_anew(slot);
                }
            }
            self.touch(slot, false);
        }
    }

    /// Ask a host anew of which nothing is heard: more was sent than the path bore.
    fn begin_anew(&mut self, slot: u32) {
        self.ask_first_again(slot);
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        host.last_look = false;
        if host.drawn {
            host.drawn = false;
            self.undrawn += 1;
        }
        if host.phase == Phase::Silent {
            host.phase = Phase::Unheard;
            host.pledged = true;
            self.pledged += host.first;
        }
    }

    fn trace_witness(&mut self, time: i64, host: u64, port: u16, what: i32) {
        if self.plan.trace {
            self.events.push(TraceEvent { time, host, port, repeat: 0, what });
        }
    }
}
