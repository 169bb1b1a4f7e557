//! What the threads of one scan tell each other of the hosts that they share.

use super::super::permutation::GROUP;
use super::{NO_SLOT, ScanEngine};

/// What one thread learned of a host that others can use.
#[derive(Debug, Clone, Copy)]
pub struct News {
    pub(super) host: u64,
    pub(super) srtt: i64,
    pub(super) rttvar: i64,
    pub(super) highest: u32,
    pub(super) port: u16,
    pub(super) closed: bool,
}

impl ScanEngine {
    /// What was learned since the last call that other threads can use; nothing where there are none.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Take over what another thread learned of a host.
    pub fn learn(&mut self, news: News) {
        let known = self.group == Some(news.host / GROUP);
        let slot = known.then(|| self.group_slots[(news.host % GROUP) as usize]).filter(|&slot| slot != NO_SLOT);
        match slot {
            Some(slot) => self.apply(slot, news),
            None if self.learned.len() < GROUP as usize * 2 => {
                self.learned.insert(news.host, news);
            }
            None => {}
        }
    }

    pub(super) fn apply(&mut self, slot: u32, news: News) {
        let (timeout, retries) = (self.plan.timeout, self.plan.retries);
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        host.known_to_answer(news.port, news.closed);
        let shorter = host.srtt < 0 && host.adopt(news.srtt, news.rttvar, timeout);
        host.highest = host.highest.max(news.highest);
        if shorter {
            self.arm(slot);
        }
        self.grant(slot, retries);
        self.touch(slot);
    }
}
