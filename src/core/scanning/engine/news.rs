//! What the threads of one scan tell each other: of the host that they share, or of networks that they share.

use super::ScanEngine;

/// Others are told of a timeout that has changed by more than one part of so many.
const TELLING: i64 = 16;

/// What one thread learned that others can use.
#[derive(Debug, Clone, Copy)]
pub enum News {
    /// Of the only host.
    Host {
        /// Its round trip.
        srtt: i64,
        /// The variation of that.
        rttvar: i64,
        /// The highest repeat that was answered.
        highest: u32,
        /// A port that answers.
        port: u16,
        /// Whether that refuses.
        closed: bool,
    },
    /// Of one of many.
    Timeout {
        /// Its number.
        host: u64,
        /// What a probe to it gets.
        timeout: i64,
        /// A port that answers.
        port: u16,
        /// Whether that refuses.
        closed: bool,
    },
}

impl ScanEngine {
    /// What was learned since the last call that other threads can use; nothing where there are none.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Note what others can use of what an answer says of a host.
    ///
    /// Of one of many they wait by the timeout last told. The first round trips are measured while thousands of probes
    /// leave, and are several times too long, so it is told again for as long as it changes.
    pub(super) fn tell(&mut self, slot: u32, port: u16, closed: bool, remarkable: bool) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if self.plan.threads < 2 || host.srtt < 0 {
            return;
        }
        if self.alone {
            if remarkable {
                let (srtt, rttvar, highest) = (host.srtt, host.rttvar, host.highest);
                self.news.push(News::Host { srtt, rttvar, highest, port, closed });
            }
        } else if (host.expected() - host.told).abs() > host.told / TELLING {
            host.told = host.expected();
            self.news.push(News::Timeout { host: host.index, timeout: host.told, port, closed });
        }
    }

    /// Take over what another thread learned.
    pub fn learn(&mut self, news: News) {
        match news {
            News::Timeout { host, timeout, port, closed } => {
                let network = self.crowd.network(host);
                if self.path.followed && !self.crowd.is_on_link(host) {
                    self.path.witnesses.heard(host, port, closed, timeout, self.now);
                }
                self.note_timeout_of(network, host, timeout);
            }
            News::Host { srtt, rttvar, highest, port, closed } => {
                self.admit();
                let timeout = self.plan.timeout;
                // The only host has the first slot for as long as it is there.
                let Some(host) = self.hosts.first_mut().and_then(Option::as_mut) else { return };
                host.known_to_answer(port, closed);
                let shorter = host.srtt < 0 && host.adopt(srtt, rttvar, timeout);
                host.highest = host.highest.max(highest);
                if !host.up {
                    self.came_up(0, port);
                } else if shorter {
                    self.arm(0);
                }
                self.grant(0);
                self.touch(0, false);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::plan;
    use super::*;
    use crate::core::scanning::host::{FLOOR, MS};
    use crate::core::scanning::{Answer, Plan};

    #[test]
    fn threads_wait_by_the_latest_round_trips_and_not_by_the_first() {
        let two = Plan { threads: 2, ..plan((1..=1024).collect()) };
        let (mut first, mut second) = (ScanEngine::new(two.clone(), 2, 0), ScanEngine::new(two, 2, 1));
        let (mut now, mut told, mut expired) = (0, 0, Vec::new());
        for number in 0..1024 {
            let probe = first.next(now).unwrap();
            now += if number < 4 { 40 } else { 10 } * MS;
            first.answer(probe.token, Answer::Refused, now);
            for news in first.take_news() {
                told += 1;
                second.learn(news);
            }
            if number == 0 {
                assert_eq!(second.crowd.wait((true, 0)), 2 * 80 * MS, "twice the round trip, so far");
            }
            first.expire(now, &mut expired);
        }
        assert_eq!(second.crowd.wait((true, 0)), 2 * FLOOR);
        assert!(!second.path.witnesses.is_empty(), "a port that answers is a witness for all threads");
        assert!(told < 100, "{told} times for 1,024 answers");
    }
}
