//! The connection machine beside a ledger of what it was told: sums agree, an end is an end, and nobody waits in vain.

use oxisock::core::serving::connection::{Closed, Connection, Faults, Limits, NEVER};

use super::script::Script;

const LONG: u64 = 1 << 60;

fn time(script: &mut Script<'_>) -> u64 {
    if script.yes() { script.between(1, LONG) } else { NEVER }
}

pub fn run(data: &[u8]) {
    let script = &mut Script::new(data);
    let limits = Limits {
        idle_timeout: time(script),
        write_timeout: time(script),
        max_buffered: script.between(1, (1 << 31) - 1) as usize,
    };
    let mut faults = Faults::NONE;
    if script.yes() {
        faults.cut = script.one_of(4);
        faults.delay = if script.yes() { script.between(0, LONG) } else { 0 };
        faults.reset_after = if script.yes() { script.between(1, 1 << 31) } else { NEVER };
        faults.drop = script.between(0, 1 << 32);
        faults.seed = script.number(8);
    }
    let mut now = 0;
    let mut machine = Connection::new(now, limits, faults);
    let (mut queued, mut written, mut owed) = (0usize, 0u64, false);
    let mut ended = Closed::Open;
    while !script.over() && now < LONG {
        now += if script.yes() { script.between(0, LONG) } else { script.number(1) };
        let open = machine.closed() == Closed::Open;
        match script.one_of(11) {
            0 => machine.active(now),
            1 if machine.room() > 0 => {
                machine.active(now);
                machine.deliver(now);
                owed = true;
            }
            2 if owed && open => {
                let size = script.between(0, 1 << 31) as usize;
                machine.queue(size, now);
                machine.answered(script.number(1), now);
                (queued, owed) = (queued + size, false);
            }
            3 if open => {
                let size = script.between(0, 1 << 31) as usize;
                machine.queue(size, now);
                queued += size;
            }
            4 | 5 if machine.allowance() > 0 => {
                let size = 1 + script.between(0, machine.allowance() as u64 - 1) as usize;
                machine.wrote(size, now);
                (queued, written) = (queued - size, written + size as u64);
            }
            6 if !machine.eof() && machine.room() > 0 => machine.ended(now),
            7 => machine.finish(now),
            8 => machine.abort(if script.yes() { Closed::Lost } else { Closed::Cut }, now),
            9 => {
                let _ = machine.swallow();
            }
            _ => {
                if script.yes() && machine.deadline() < LONG {
                    now = now.max(machine.deadline());
                }
                machine.tick(now);
            }
        }
        assert_eq!(machine.queued(), queued);
        assert!(machine.room() <= limits.max_buffered && machine.allowance() <= queued);
        assert!(faults.cut == 0 || machine.allowance() <= faults.cut);
        assert!(written <= faults.reset_after);
        if ended != Closed::Open {
            assert_eq!(machine.closed(), ended, "an end is an end");
        }
        ended = machine.closed();
        if ended != Closed::Open {
            assert_eq!((machine.room(), machine.allowance(), machine.deadline()), (0, 0, NEVER));
            continue;
        }
        assert_eq!(machine.owed(), owed);
        // Whoever is neither read, nor written, nor answered, nor timed would stay for ever.
        let waits = machine.room() == 0 && machine.allowance() == 0 && !owed;
        assert!(!waits || queued > 0, "nothing is waited for: {machine:?}");
        // Who ticks when told to gets on.
        let due = machine.deadline();
        if due <= now {
            let mut later = machine.clone();
            later.tick(now);
            let idle = later.closed() == Closed::Open && later.allowance() == 0;
            assert!(!idle || later.deadline() > now, "a busy wait: {machine:?}");
        }
    }
}
