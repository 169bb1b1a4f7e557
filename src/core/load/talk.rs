//! One connection's part in a load: how much it says, and whether what it hears is right.

use std::collections::VecDeque;

use super::script::{Expected, Script};
use super::tally::{Fault, Tally};
use crate::core::framing::{Decoder, Frames};

/// Messages that wait for their answers since the same time.
#[derive(Clone, Copy, Debug)]
struct Run {
    since: u64,
    count: u64,
}

/// One connection: requests out, answers in, in the order of the requests.
pub struct Talk {
    /// Where in the script the next byte to write stands, and how many bytes of begun messages are not written.
    position: usize,
    unwritten: usize,
    flight: VecDeque<Run>,
    in_flight: u64,
    quiet_since: u64,
    /// Which answer is the next, how much of it is there, and whether that is wrong already.
    expected: usize,
    got: usize,
    spoilt: bool,
    decoder: Option<Decoder>,
    frames: Frames,
}

impl Talk {
    /// A connection that begins somewhere in the script, so that not all of them say the same at once.
    #[must_use]
    pub fn new(script: &Script, first: usize) -> Self {
        let first = first % script.count;
        let codec = match &script.expected {
            Expected::Stream { .. } => None,
            Expected::Frames { codec, .. } | Expected::AnyFrames(codec) => Some(codec),
        };
        Self {
            position: first * script.request,
            unwritten: 0,
            flight: VecDeque::new(),
            in_flight: 0,
            quiet_since: 0,
            expected: first,
            got: 0,
            spoilt: false,
            decoder: codec.map(|codec| Decoder::new(codec.clone(), false)),
            frames: Frames::default(),
        }
    }

    /// How many messages wait for their answers.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// How long nothing was heard although something should have been.
    #[must_use]
    pub fn silence(&self, now: u64) -> u64 {
        if self.in_flight == 0 { 0 } else { now.saturating_sub(self.quiet_since) }
    }

    /// Begin the next message, whose latency counts from `since`.
    pub fn begin(&mut self, script: &Script, since: u64, now: u64, tally: &mut Tally) {
        if self.in_flight == 0 {
            self.quiet_since = now;
        }
        match self.flight.back_mut() {
            Some(run) if run.since == since => run.count += 1,
            _ => self.flight.push_back(Run { since, count: 1 }),
        }
        self.in_flight += 1;
        self.unwritten += script.request;
        tally.sent += 1;
    }

    /// The bytes to be written now, in two pieces where they go on at the beginning of the script.
    #[must_use]
    pub fn to_write<'script>(&self, script: &'script Script) -> [&'script [u8]; 2] {
        let to_end = &script.requests[self.position..];
        if self.unwritten <= to_end.len() {
            return [&to_end[..self.unwritten], &[]];
        }
        let more = self.unwritten - to_end.len();
        [to_end, &script.requests[..more.min(self.position)]]
    }

    /// So many of them were written.
    pub fn wrote(&mut self, script: &Script, count: usize, tally: &mut Tally) {
        self.position = (self.position + count) % script.requests.len();
        self.unwritten -= count;
        tally.bytes_sent += count as u64;
    }

    /// Take what came; the fault, if any, ends the connection.
    pub fn received(&mut self, script: &Script, data: &[u8], now: u64, tally: &mut Tally) -> Result<(), Fault> {
        self.quiet_since = now;
        tally.bytes_received += data.len() as u64;
        match &script.expected {
            Expected::Stream { bytes, size } => self.compare(script, bytes, *size, data, now, tally),
            Expected::Frames { payloads, .. } => self.decode(script, Some(payloads), data, now, tally),
            Expected::AnyFrames(_) => self.decode(script, None, data, now, tally),
        }
    }

    /// The connection has ended: what was on its way is lost.
    pub fn lose(&mut self, tally: &mut Tally) {
        tally.lost += self.in_flight;
        self.in_flight = 0;
        self.flight = VecDeque::new();
        self.unwritten = 0;
        self.decoder = None;
    }

    fn compare(
        &mut self,
        script: &Script,
        bytes: &[u8],
        size: usize,
        mut data: &[u8],
        now: u64,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        while !data.is_empty() {
            if self.in_flight == 0 {
                tally.keep_wrong(data, None);
                return Err(Fault::Unasked);
            }
            let at = self.expected * size + self.got;
            let owed = (self.in_flight as usize).saturating_mul(size) - self.got;
            let (mut piece, mut rest) = data.split_at(data.len().min(owed).min(bytes.len() - at));
            let mut right = !self.spoilt && *piece == bytes[at..at + piece.len()];
            if !right {
                // Which of the messages is wrong? One after the other.
                (piece, rest) = data.split_at(piece.len().min(size - self.got));
                if *piece != bytes[at..at + piece.len()] {
                    // A server may answer more or less than was expected: what stands there now tells it.
                    tally.keep_wrong(data, Some(&bytes[at..at + size - self.got]));
                    self.spoilt = true;
                }
                right = !self.spoilt;
            }
            self.got += piece.len();
            let whole = self.got / size;
            self.got %= size;
            if whole > 0 {
                self.expected = (self.expected + whole) % script.count;
                self.settle(whole as u64, right, now, tally);
                self.spoilt = false;
            }
            data = rest;
        }
        Ok(())
    }

    fn decode(
        &mut self,
        script: &Script,
        payloads: Option<&Vec<Vec<u8>>>,
        data: &[u8],
        now: u64,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        let mut frames = std::mem::take(&mut self.frames);
        let fed = decoder.feed(data, &mut frames);
        let held = frames.first.iter().map(|(held, span)| &held[span.start..span.end]);
        for frame in held.chain(frames.spans.iter().map(|span| &data[span.start..span.end])) {
            if self.in_flight == 0 {
                tally.keep_wrong(frame, None);
                return Err(Fault::Unasked);
            }
            let expected = payloads.map(|payloads| payloads[self.expected % payloads.len()].as_slice());
            let right = expected.is_none_or(|expected| expected == frame);
            if !right {
                tally.keep_wrong(frame, expected);
            }
            self.expected = (self.expected + 1) % script.count;
            self.settle(1, right, now, tally);
        }
        frames.first = None;
        frames.spans.clear();
        self.frames = frames;
        if fed.is_err() {
            tally.keep_wrong(data, None);
            if self.in_flight > 0 {
                self.settle(1, false, now, tally);
            }
            return Err(Fault::Corrupt);
        }
        Ok(())
    }

    /// So many answers are there.
    fn settle(&mut self, count: u64, right: bool, now: u64, tally: &mut Tally) {
        self.in_flight -= count;
        *(if right { &mut tally.answered } else { &mut tally.wrong }) += count;
        let mut left = count;
        while left > 0 {
            let Some(run) = self.flight.front_mut() else { return };
            let some = run.count.min(left);
            if right {
                tally.latency.record(now.saturating_sub(run.since), some);
            }
            run.count -= some;
            left -= some;
            if run.count == 0 {
                self.flight.pop_front();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::super::Replies;
    use super::*;
    use crate::core::framing::delimited::Delimited;

    fn messages(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    fn echo() -> Script {
        let both = messages(&["abc", "def", "ghi"]);
        Script::new(&both, Replies::Stream(both.clone())).unwrap()
    }

    fn lines() -> Script {
        let codec = Arc::new(Delimited::lines(false, false, 8));
        Script::new(&messages(&["a\n", "b\n"]), Replies::Frames(codec, messages(&["A", "B"]))).unwrap()
    }

    /// Begin so many messages at time 0 and write all of them.
    fn said(talk: &mut Talk, script: &Script, count: usize, tally: &mut Tally) -> Vec<u8> {
        for _ in 0..count {
            talk.begin(script, 0, 0, tally);
        }
        let bytes = talk.to_write(script).concat();
        talk.wrote(script, bytes.len(), tally);
        bytes
    }

    #[test]
    fn an_echo_is_right_however_it_is_cut() {
        let script = echo();
        for cut in 1..9 {
            let (mut talk, mut tally) = (Talk::new(&script, 1), Tally::new().unwrap());
            let bytes = said(&mut talk, &script, 4, &mut tally);
            assert_eq!(bytes, b"defghiabcdef");
            for piece in bytes.chunks(cut) {
                talk.received(&script, piece, 7, &mut tally).unwrap();
            }
            assert_eq!((tally.sent, tally.answered, tally.wrong, talk.in_flight()), (4, 4, 0, 0));
            assert_eq!((tally.bytes_sent, tally.bytes_received), (12, 12));
        }
    }

    #[test]
    fn the_script_goes_round() {
        let script = echo();
        let (mut talk, mut tally) = (Talk::new(&script, script.count - 1), Tally::new().unwrap());
        let bytes = said(&mut talk, &script, 3, &mut tally);
        assert_eq!(bytes, b"ghiabcdef");
        talk.received(&script, &bytes, 7, &mut tally).unwrap();
        assert_eq!((tally.answered, tally.wrong), (3, 0));
    }

    #[test]
    fn a_wrong_message_in_a_stream_is_one_wrong_message() {
        let script = echo();
        for cut in 1..9 {
            let (mut talk, mut tally) = (Talk::new(&script, 0), Tally::new().unwrap());
            said(&mut talk, &script, 3, &mut tally);
            for piece in b"abcdXfghi".chunks(cut) {
                talk.received(&script, piece, 7, &mut tally).unwrap();
            }
            assert_eq!((tally.answered, tally.wrong), (2, 1));
            assert!(tally.first_wrong.is_some_and(|wrong| !wrong.came.is_empty() && wrong.expected.is_some()));
            assert_eq!(tally.latency.summary().unwrap().count, 2);
        }
    }

    #[test]
    fn nobody_may_answer_what_was_not_asked() {
        for (script, greeting) in [(echo(), &b"220 hello\n"[..]), (lines(), b"220 hi\n")] {
            let (mut talk, mut tally) = (Talk::new(&script, 0), Tally::new().unwrap());
            assert_eq!(talk.received(&script, greeting, 1, &mut tally), Err(Fault::Unasked));
            // It is no message's answer: every message is answered, wrong, lost or on its way.
            assert_eq!((tally.sent, tally.wrong), (0, 0));
            assert!(tally.first_wrong.is_some());
        }
    }

    #[test]
    fn frames_are_compared_one_by_one() {
        let script = lines();
        let (mut talk, mut tally) = (Talk::new(&script, 0), Tally::new().unwrap());
        said(&mut talk, &script, 4, &mut tally);
        for piece in [&b"A\r"[..], b"\nX\nA", b"\nB\n"] {
            talk.received(&script, piece, 7, &mut tally).unwrap();
        }
        assert_eq!((tally.answered, tally.wrong, talk.in_flight()), (3, 1, 0));
        said(&mut talk, &script, 2, &mut tally);
        assert_eq!(talk.received(&script, b"A\nmuch too long", 7, &mut tally), Err(Fault::Corrupt));
        assert_eq!((tally.answered, tally.wrong, talk.in_flight()), (4, 2, 0));
    }

    #[test]
    fn any_frame_will_do_where_any_is_asked_for() {
        let codec = Arc::new(Delimited::lines(false, false, 8));
        let script = Script::new(&messages(&["a\n"]), Replies::AnyFrames(codec)).unwrap();
        let (mut talk, mut tally) = (Talk::new(&script, 0), Tally::new().unwrap());
        said(&mut talk, &script, 2, &mut tally);
        talk.received(&script, b"one\ntwo\n", 7, &mut tally).unwrap();
        assert_eq!((tally.answered, tally.wrong), (2, 0));
    }

    #[test]
    fn latency_counts_from_when_the_message_was_meant() {
        let script = echo();
        let (mut talk, mut tally) = (Talk::new(&script, 0), Tally::new().unwrap());
        for since in [1000, 2000] {
            talk.begin(&script, since, 5000, &mut tally);
        }
        assert_eq!(talk.silence(5500), 500);
        talk.received(&script, b"abcdef", 6000, &mut tally).unwrap();
        let summary = tally.latency.summary().unwrap();
        assert_eq!((summary.min.as_nanos() / 10, summary.max.as_nanos() / 10), (400, 500));
        assert_eq!(talk.silence(9000), 0);
    }

    #[test]
    fn what_a_lost_connection_owed_is_lost() {
        let script = echo();
        let (mut talk, mut tally) = (Talk::new(&script, 0), Tally::new().unwrap());
        said(&mut talk, &script, 3, &mut tally);
        talk.received(&script, b"abcd", 1, &mut tally).unwrap();
        talk.lose(&mut tally);
        assert_eq!((tally.answered, tally.lost, talk.in_flight()), (1, 2, 0));
    }
}
