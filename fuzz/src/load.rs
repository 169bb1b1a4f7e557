//! What a load says and counts: every message is accounted for once, whatever comes and when.

use std::collections::BTreeSet;
use std::sync::Arc;

use oxisock::core::framing::Codec;
use oxisock::core::framing::counted::Counted;
use oxisock::core::framing::delimited::Delimited;
use oxisock::core::framing::headers::LengthPrefix;
use oxisock::core::load::ledger::Verdict;
use oxisock::core::load::{Ledger, Replies, Schedule, Talk, Tally, Until};

use super::script::Script;

pub fn run(data: &[u8]) {
    let script = &mut Script::new(data);
    match script.one_of(3) {
        0 => talk(script),
        1 => ledger(script),
        _ => schedule(script),
    }
}

/// The requests and the replies that are right, of one length each.
fn said(script: &mut Script<'_>) -> Option<oxisock::core::load::Script> {
    let (count, size) = (1 + script.one_of(4), 1 + script.one_of(5));
    let mut some = |size: usize| -> Vec<Vec<u8>> {
        (0..count)
            .map(|_| {
                let mut each = script.bytes(size).to_vec();
                each.resize(size, b'x');
                each
            })
            .collect()
    };
    let (requests, replies) = (some(size), some(1 + size / 2));
    let codec: Codec = if script.yes() {
        Arc::new(Delimited::lines(false, false, 40))
    } else {
        Arc::new(Counted(LengthPrefix::new(1, false, 0, 0, 1, 40)))
    };
    let replies = match script.one_of(3) {
        0 => Replies::Stream(replies),
        1 => Replies::Frames(codec, replies),
        _ => Replies::AnyFrames(codec),
    };
    oxisock::core::load::Script::new(&requests, replies).ok()
}

fn talk(script: &mut Script<'_>) {
    let Some(said) = said(script) else { return };
    let Ok(mut tally) = Tally::new() else { return };
    let mut talk = Talk::new(&said, script.number(2) as usize);
    let (mut now, mut begun) = (0u64, 0u64);
    while !script.over() {
        now += script.number(1);
        match script.one_of(5) {
            0 | 1 => {
                for _ in 0..=script.one_of(6) {
                    talk.begin(&said, now.saturating_sub(script.number(1)), now, &mut tally);
                    begun += 1;
                }
            }
            2 => {
                let ready: usize = talk.to_write(&said).iter().map(|piece| piece.len()).sum();
                if ready > 0 {
                    let count = 1 + script.between(0, ready as u64 - 1) as usize;
                    talk.wrote(&said, count, &mut tally);
                }
            }
            3 => {
                let size = script.one_of(40);
                if talk.received(&said, script.bytes(size), now, &mut tally).is_err() {
                    break;
                }
            }
            _ => {
                if script.byte() == 0 {
                    break;
                }
            }
        }
        assert_eq!(tally.sent, begun);
        assert_eq!(tally.answered + tally.wrong + talk.in_flight(), begun);
        assert!(talk.in_flight() > 0 || talk.silence(now) == 0);
    }
    talk.lose(&mut tally);
    let known = tally.answered + tally.wrong + tally.lost;
    // What nobody had asked for is one wrong answer more.
    assert!(known == begun || known == begun + 1, "{known} of {begun}");
}

fn ledger(script: &mut Script<'_>) {
    let mut ledger = Ledger::default();
    let (mut now, mut open, mut answered, mut sent) = (0u64, BTreeSet::new(), BTreeSet::new(), 0u64);
    while !script.over() {
        now += script.number(1);
        match script.one_of(3) {
            0 => {
                for _ in 0..=script.one_of(70) {
                    ledger.sent(now, now);
                    open.insert((sent, now));
                    sent += 1;
                }
            }
            1 => {
                let number = if script.yes() { script.between(0, u64::MAX) } else { script.number(1) % (sent + 1) };
                let at = open.range((number, 0)..=(number, u64::MAX)).next().copied();
                let right = match at {
                    _ if number >= sent => Verdict::Unknown,
                    _ if answered.contains(&number) => Verdict::Duplicate,
                    Some((_, at)) => Verdict::Answered(at),
                    None => Verdict::Late,
                };
                assert_eq!(ledger.answer(number), right, "number {number} of {sent}");
                open.retain(|(each, _)| *each != number);
                if number < sent {
                    answered.insert(number);
                }
            }
            _ => {
                let timeout = script.number(1);
                let before = open.len();
                open.retain(|(_, at)| now - at < timeout);
                assert_eq!(ledger.expire(now, timeout), (before - open.len()) as u64);
            }
        }
        assert_eq!((ledger.next(), ledger.in_flight()), (sent, open.len() as u64));
    }
}

fn schedule(script: &mut Script<'_>) {
    let lanes = script.one_of(5);
    let rate = script.yes().then(|| script.between(0, u64::MAX));
    let until = if script.yes() {
        Until::Time(script.between(0, u64::MAX))
    } else {
        Until::Messages(script.between(0, u64::MAX))
    };
    let mut schedule = Schedule::new(rate, until, lanes);
    let (mut now, mut last, mut dealt, mut begun) = (0u64, 0, 0u64, 0u64);
    while !script.over() {
        now = now.saturating_add(if script.yes() { script.between(0, 1 << 50) } else { script.number(1) });
        match script.one_of(4) {
            0 => {
                for _ in 0..64 {
                    let Some((lane, due)) = schedule.deal(now) else { break };
                    assert!(lane < lanes && due <= now && due >= last);
                    (last, dealt) = (due, dealt + 1);
                }
            }
            1 if lanes > 0 => {
                let lane = script.one_of(lanes);
                if schedule.ready(lane, now) > 0 {
                    assert!(schedule.begin(lane, now) <= now, "a message before its time");
                    begun += 1;
                }
            }
            2 => schedule.close(now),
            _ => {
                if schedule.over(now) {
                    assert!(schedule.next_due().is_none() || matches!(until, Until::Time(_)));
                }
            }
        }
        assert_eq!(schedule.unsent(), dealt.saturating_sub(begun));
    }
}
