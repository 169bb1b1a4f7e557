//! What the threads of one scan tell each other: of the host that they share, or of networks that they share.

use super::ScanEngine;

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
    },
}

impl ScanEngine {
    /// What was learned since the last call that other threads can use; nothing where there are none.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Note what others can use of what was learned of a host.
    pub(super) fn tell(&mut self, slot: u32, port: u16, closed: bool) {
        if self.plan.threads > 1
            && let Some(host) = &self.hosts[slot as usize]
            && host.srtt >= 0
        {
            self.news.push(if self.alone {
                News::Host { srtt: host.srtt, rttvar: host.rttvar, highest: host.highest, port, closed }
            } else {
                News::Timeout { host: host.index, timeout: host.timeout }
            });
        }
    }

    /// Take over what another thread learned.
    pub fn learn(&mut self, news: News) {
        match news {
            News::Timeout { host, timeout } => {
                let network = self.crowd.network(host);
                self.crowd.heard(network, host, timeout);
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
