//! What becomes of a host: heard, silent, unreachable, done.

use super::super::host::Phase;
use super::super::{Answer, Outcome, State};
use super::{Host, ScanEngine, find};

impl ScanEngine {
    /// Something came from a host for the first time.
    pub(super) fn came_up(&mut self, slot: u32, port: u16) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        host.up = true;
        self.tally.up += 1;
        self.crowd.settled(host, self.now);
        unpledge(host, &mut self.pledged);
        if host.phase == Phase::Silent {
            // What was silent while it was listened to for a moment only is asked again, but for what is under way and
            // for the port that answers. At a last look, that includes its first ports.
            let waiting = host.waiting.iter().map(|ask| ask.port).filter(|port| host.questions.contains_key(port));
            let flying = host.sent.iter().filter_map(|&token| find(&self.flights, token)).map(|each| each.ask.port);
            let held = self.put_back.iter().filter(|&&(other, _)| other == slot).map(|(_, ask)| ask.port);
            host.decided.extend(waiting.chain(flying).chain(held).chain([port]));
            host.asked_before = host.asked_before.max(host.cursor);
            host.cursor = if host.last_look { 0 } else { host.first };
            if host.drawn {
                host.drawn = false;
                self.undrawn += 1;
            }
        }
        host.phase = Phase::Heard;
        self.arm(slot);
    }

    /// Take what the neighbour table says of a host: whether it answers there; none where it stands nowhere.
    pub fn neighbour(&mut self, index: u64, there: Option<bool>, now: i64) {
        self.now = now;
        let Some(&slot) = self.on_link.get(&index) else { return };
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if host.up {
            return;
        }
        if there == Some(false) {
            self.tally.unreachable += 1;
            self.close(slot, Answer::HostUnreachable, Answer::HostUnreachable);
            return;
        }
        host.checking = false;
        let rejected = host.rejected.take();
        if there == Some(true) {
            self.crowd.settled(host, now);
            if let Some((port, after)) = rejected {
                host.sample(after, after, self.plan.timeout); // it is there, so that was its firewall
                self.came_up(slot, port);
                self.note_timeout(slot);
            }
        }
        self.touch(slot, false);
    }

    /// Queue a host that has something to ask and room in its window; see whether one is done that has nothing.
    ///
    /// `again`: it was asked just now. Where the order is by address, and of silent hosts, one is asked to its end before
    /// the next, so that few questions are open at once.
    pub(super) fn touch(&mut self, slot: u32, again: bool) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if host.has_work() {
            if host.queued || host.in_flight >= host.window {
                return;
            }
            if self.now >= host.next_send {
                host.queued = true;
                host.waiting_for_pace = false;
                let queue = &mut self.ready[host.phase as usize];
                let first = match host.phase {
                    Phase::Silent => again || !host.waiting.is_empty(),
                    _ => again && !self.plan.random,
                };
                if first {
                    queue.push_front((slot, host.index));
                } else {
                    queue.push_back((slot, host.index));
                }
            } else if !host.waiting_for_pace {
                host.waiting_for_pace = true;
                self.arm(slot);
            }
        } else if host.in_flight == 0 && host.put_back == 0 {
            if host.phase == Phase::Heard && host.up { self.finish(slot) } else { self.nothing_came(slot) }
        }
    }

    /// There is nothing left to ask of a host that answers. Call what stayed silent filtered, but not before enough
    /// canaries have told silence from loss.
    fn finish(&mut self, slot: u32) {
        let Some(host) = &self.hosts[slot as usize] else { return };
        let mut missing = if host.bench.is_empty() { 0 } else { host.canaries_missing() };
        if missing <= 0 && !host.dead {
            self.grant(slot);
        }
        let Some(host) = &self.hosts[slot as usize] else { return };
        let (quiet, mut asked) = (host.listening == 0, host.has_work());
        while missing > 0 && self.add_canary(slot) {
            missing -= 1;
            asked = true;
        }
        if asked {
            self.touch(slot, false);
        } else if quiet {
            while self.unbench(slot) {}
            self.remove(slot);
        }
    }

    /// There is nothing left to ask, in its phase, of a host from which nothing has come.
    fn nothing_came(&mut self, slot: u32) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        // The neighbour table will soon tell a silent host from nobody.
        let near = self.plan.adaptive && (0..=self.plan.timeout / 2).contains(&(host.check_at - self.now));
        if host.checking || near {
            return;
        }
        if host.link.is_none() && self.path.is_in_doubt() {
            return; // what it did not say may have been lost
        }
        let skip = self.plan.skip_silent && !host.faulty; // what could not be asked is not silent
        match host.phase {
            Phase::Unheard if host.first < host.order.count() && !skip => {
                unpledge(host, &mut self.pledged);
                host.phase = Phase::Silent;
                host.wait = self.crowd.wait(host.network);
                self.touch(slot, false);
            }
            Phase::Silent => {
                let benched = host.bench.iter().filter(|(port, _)| host.questions.contains_key(port)).count();
                if host.questions.len() == benched {
                    if host.listening > 0 && self.now < host.first_until {
                        host.ends_at = host.first_until;
                        self.arm(slot);
                    } else {
                        self.end_silently(slot);
                    }
                }
            }
            Phase::Unheard | Phase::Heard => {
                if host.listening == 0 {
                    self.end_silently(slot);
                }
            }
        }
    }

    /// Close a host from which nothing has come, but not before a last look if much got lost meanwhile.
    fn end_silently(&mut self, slot: u32) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        let lossy = host.link.is_none() && self.path.has_lost_since(host.first_sent);
        if lossy && !host.last_look && !host.faulty {
            host.last_look = true;
            self.ask_first_again(slot);
            self.touch(slot, false);
            return;
        }
        self.tally.silent += u64::from(!host.faulty);
        self.close(slot, Answer::NoResponse, Answer::HostSilent);
    }

    /// Ask the first ports of a host again from which nothing has come, as if none had been asked.
    pub(super) fn ask_first_again(&mut self, slot: u32) {
        self.give_up_all(slot);
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        host.waiting.clear();
        host.asked_before = host.asked_before.max(host.cursor);
        host.cursor = 0;
        host.ends_at = -1;
        // Else there is nothing left to draw after the first ports.
        if host.drawn && host.first == host.order.count() {
            host.drawn = false;
            self.undrawn += 1;
        }
    }

    /// Decide what is undecided of a host that is not up, by whether it was asked, and forget the host.
    pub(super) fn close(&mut self, slot: u32, asked: Answer, unasked: Answer) {
        self.give_up_all(slot);
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        let (count, cursor) = (host.order.count(), host.cursor.max(host.asked_before));
        self.tally.unasked += count - cursor;
        self.tally.states[State::Filtered as usize] += count - host.decided.len() as u64;
        if self.plan.keep >> (State::Filtered as u8) & 1 == 1 {
            for position in 0..count {
                let port = self.plan.ports[host.order.at(position) as usize];
                if !host.decided.contains(&port) {
                    let reason = if position < cursor { asked } else { unasked };
                    let state = State::Filtered;
                    self.outcomes.push(Outcome { host: host.index, port, state, reason, rtt: -1, banner: None });
                }
            }
        }
        unpledge(host, &mut self.pledged);
        self.remove(slot);
    }

    /// Give up all probes to a host that is not up, and forget which ports went unanswered.
    pub(super) fn give_up_all(&mut self, slot: u32) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        let mut tokens = Vec::from(std::mem::take(&mut host.sent));
        for question in host.questions.values() {
            self.benched -= usize::from(question.benched);
            tokens.extend(&question.tokens);
        }
        host.questions.clear();
        host.bench.clear();
        if host.put_back > 0 {
            self.put_back.retain(|&(other, _)| other != slot);
            host.put_back = 0;
        }
        self.drop_all(&tokens);
    }

    fn remove(&mut self, slot: u32) {
        if let Some(host) = self.hosts[slot as usize].as_mut() {
            let late = Vec::from(std::mem::take(&mut host.late));
            self.drop_all(&late);
        }
        if let Some(host) = self.hosts[slot as usize].take() {
            self.undrawn -= u64::from(!host.drawn);
            self.live -= 1;
            self.on_link.remove(&host.index);
            self.free_hosts.push(slot);
        }
    }
}

fn unpledge(host: &mut Host, pledged: &mut u64) {
    if host.pledged {
        host.pledged = false;
        *pledged -= host.first;
    }
}
