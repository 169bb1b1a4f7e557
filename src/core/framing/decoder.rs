//! The decoder: what stands between two chunks of a stream, for any codec.

use std::collections::VecDeque;
use std::mem;

use super::{Codec, Fault, Kind, Passed, Passing, Reason, Span, Step};
use crate::core::memory::{NoMemory, append};

const KEPT_SKIPS: usize = 1000;

/// A stream that does not follow its codec, as the user sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameError {
    /// The kind of exception.
    pub kind: Kind,
    /// The details.
    pub reason: Reason,
    /// Where in the stream the bad frame begins.
    pub offset: u64,
    /// The length of body that the stream declared.
    pub declared: Option<i128>,
    /// The codec's limit.
    pub limit: u64,
}

/// Why bytes were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedError {
    /// The stream is bad, now or since an earlier call.
    Frame(FrameError),
    /// Its end had been told.
    Ended,
    /// There is no memory for what came, now or in an earlier call.
    Memory,
}

impl From<NoMemory> for FeedError {
    fn from(_: NoMemory) -> Self {
        Self::Memory
    }
}

/// A frame that was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where in the stream it begins.
    pub offset: u64,
    /// How many bytes it took there.
    pub length: u64,
    /// What was wrong with it.
    pub kind: Kind,
    /// The length of body that the stream declared.
    pub declared: Option<i128>,
}

/// The frames of one call: at most one that had begun in an earlier chunk, then those in the chunk itself.
#[derive(Default)]
pub struct Frames {
    /// The one that had begun, and where in these bytes it stands.
    pub first: Option<(Vec<u8>, Span)>,
    /// The others, by where in the chunk they stand.
    pub spans: Vec<Span>,
}

/// What asks for no more than eight bytes of alignment, although numbers of 128 bits are in it: a Python of 32 bits
/// aligns its objects to eight, and a decoder stands in one.
#[derive(Clone, Copy)]
#[repr(Rust, packed(8))]
struct Loose<T>(T);

/// A frame being left out.
#[derive(Clone, Copy)]
struct Bad {
    offset: u64,
    fault: Fault,
}

/// One stream being cut into frames.
pub struct Decoder {
    codec: Codec,
    skip: bool,
    held: Vec<u8>,
    received: u64,
    bad: Option<Loose<Bad>>,
    passing: Passing,
    skipped: VecDeque<Skipped>,
    skipped_count: u64,
    failure: Option<Loose<FeedError>>,
    ended: bool,
}

impl Decoder {
    /// Begin a stream; `skip` leaves bad frames out where that can be done.
    #[must_use]
    pub fn new(codec: Codec, skip: bool) -> Self {
        Self {
            codec,
            skip,
            held: Vec::new(),
            received: 0,
            bad: None,
            passing: Passing::default(),
            skipped: VecDeque::new(),
            skipped_count: 0,
            failure: None,
            ended: false,
        }
    }

    /// Bytes held back until more of their frame is there.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.held.len() + self.passing.retained.len()
    }

    /// Frames left out so far.
    #[must_use]
    pub fn skipped_count(&self) -> u64 {
        self.skipped_count
    }

    /// The codec's limit.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.codec.limit()
    }

    /// Give the frames left out since the last call, at most the last 1,000, and forget them.
    pub fn take_skipped(&mut self) -> VecDeque<Skipped> {
        mem::take(&mut self.skipped)
    }

    /// Say whether the stream takes more bytes.
    pub fn check_open(&self) -> Result<(), FeedError> {
        match self.failure {
            Some(Loose(error)) => Err(error),
            None if self.ended => Err(FeedError::Ended),
            None => Ok(()),
        }
    }

    /// Take the next bytes of the stream. The frames found are in `frames` (empty before) even where this fails.
    pub fn feed(&mut self, data: &[u8], frames: &mut Frames) -> Result<(), FeedError> {
        self.feed_some(data, frames, usize::MAX).map(drop)
    }

    /// The same for as many bytes as `most` frames need (and one that had begun earlier); give how many were taken.
    pub fn feed_some(&mut self, data: &[u8], frames: &mut Frames, most: usize) -> Result<usize, FeedError> {
        self.check_open()?;
        let result = self.advance(data, frames, most);
        if result == Err(FeedError::Memory) {
            self.lose();
        }
        result
    }

    /// Some of the stream is lost for want of memory, so that nothing more can be made of it.
    pub fn lose(&mut self) {
        self.held = Vec::new();
        self.passing = Passing::default();
        self.bad = None;
        self.failure = Some(Loose(FeedError::Memory));
    }

    fn advance(&mut self, data: &[u8], frames: &mut Frames, most: usize) -> Result<usize, FeedError> {
        let base = self.received;
        self.received += data.len() as u64;
        let mut at = 0;
        while at < data.len() {
            let here = base + at as u64;
            if self.bad.is_some() {
                at += self.pass_over(&data[at..], here)?;
            } else if self.held.is_empty() {
                let (end, fault) = self.codec.scan(data, at, &mut frames.spans, most)?;
                at = end;
                let Some(fault) = fault else {
                    if frames.spans.len() >= most {
                        self.received = base + at as u64;
                        return Ok(at);
                    }
                    append(&mut self.held, &data[at..])?;
                    return Ok(data.len());
                };
                self.meet(fault, base + at as u64)?;
            } else {
                let start = here - self.held.len() as u64;
                let (taken, step) = self.codec.resume(&mut self.held, &data[at..])?;
                at += taken;
                match step {
                    Step::More => {}
                    Step::Frame(span) => frames.first = Some((mem::take(&mut self.held), span)),
                    Step::Bad(fault) => {
                        self.meet(fault, start)?;
                        let held = mem::take(&mut self.held);
                        self.pass_over(&held, start)?;
                    }
                }
            }
        }
        Ok(data.len())
    }

    /// Take the end of the stream and give the frame that it completes, if any.
    pub fn eof(&mut self) -> Result<Option<Vec<u8>>, FeedError> {
        match self.check_open() {
            Err(FeedError::Ended) => return Ok(None),
            other => other?,
        }
        self.ended = true;
        self.passing = Passing::default();
        let held = mem::take(&mut self.held);
        if self.bad.is_some() {
            self.record(self.received);
            return Ok(None);
        }
        if held.is_empty() {
            return Ok(None);
        }
        match self.codec.finish(&held) {
            Ok(()) => Ok(Some(held)),
            Err(fault) => {
                self.meet(fault, self.received - held.len() as u64)?;
                self.record(self.received);
                Ok(None)
            }
        }
    }

    /// Discard what of the bad frame stands in `data`, whose first byte is at `offset`; give how much that is.
    fn pass_over(&mut self, data: &[u8], offset: u64) -> Result<usize, FeedError> {
        let Some(Loose(Bad { offset: began, fault })) = self.bad else { return Ok(0) };
        match self.codec.pass_over(&mut self.passing, data, fault.declared)? {
            Passed::All => Ok(data.len()),
            Passed::To(end) => {
                self.record(offset + end as u64);
                Ok(end)
            }
            Passed::Bad(fault) => {
                self.bad = None;
                Err(self.fail(fault, began))
            }
        }
    }

    /// Begin to leave a bad frame out, or fail where that is not to be or cannot be done.
    fn meet(&mut self, fault: Fault, offset: u64) -> Result<(), FeedError> {
        match fault.discard {
            Some(left) if self.skip => {
                self.bad = Some(Loose(Bad { offset, fault }));
                self.passing.left = left;
                Ok(())
            }
            _ => Err(self.fail(fault, offset)),
        }
    }

    fn fail(&mut self, fault: Fault, offset: u64) -> FeedError {
        self.held = Vec::new();
        let error = FrameError {
            kind: fault.kind,
            reason: fault.reason,
            offset,
            declared: fault.declared,
            limit: self.codec.limit(),
        };
        self.failure = Some(Loose(FeedError::Frame(error)));
        FeedError::Frame(error)
    }

    /// Note the frame that was left out, now that it is known to end before `end`.
    fn record(&mut self, end: u64) {
        let Some(Loose(Bad { offset, fault })) = self.bad.take() else {
            return;
        };
        if self.skipped.len() == KEPT_SKIPS {
            self.skipped.pop_front();
        }
        let length = end - offset;
        self.skipped.push_back(Skipped { offset, length, kind: fault.kind, declared: fault.declared });
        self.skipped_count += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::counted::Counted;
    use super::super::delimited::Delimited;
    use super::super::headers::{Decimal, LengthPrefix};
    use super::*;

    fn codecs() -> Vec<Codec> {
        vec![
            Arc::new(Counted(LengthPrefix::new(2, false, 0, 0, 2, 6))),
            Arc::new(Counted(Decimal::new(b':', Some(b','), 6))),
            Arc::new(Delimited::lines(false, true, 6)),
            Arc::new(Delimited::new(vec![b"abc".to_vec(), b"--".to_vec()], false, false, 6)),
        ]
    }

    /// All that a stream comes to.
    fn outcome(codec: &Codec, chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Result<(), FeedError>, Vec<Skipped>) {
        let mut decoder = Decoder::new(Arc::clone(codec), true);
        let mut all = Vec::new();
        let mut result = Ok(());
        for chunk in chunks {
            let mut frames = Frames::default();
            result = decoder.feed(chunk, &mut frames);
            all.extend(frames.first.iter().map(|(held, span)| held[span.start..span.end].to_vec()));
            all.extend(frames.spans.iter().map(|span| chunk[span.start..span.end].to_vec()));
            if result.is_err() {
                break;
            }
        }
        if result.is_ok() {
            result = decoder.eof().map(|last| all.extend(last));
        }
        (all, result, decoder.take_skipped().into())
    }

    #[test]
    fn every_cut_in_three_comes_to_the_same() {
        let streams: [&[u8]; 5] = [
            b"\0\x02hi\0\0\0\x07toolong\0\x01x",
            b"2:hi,0:,7:toolong,1:x,",
            b"one\r\ntoo long\r\n\nlast\r",
            b"xabcy--ababcmuch too longababcz",
            b"2:hi,07:",
        ];
        for codec in codecs() {
            for stream in streams {
                let whole = outcome(&codec, &[stream]);
                for first in 0..=stream.len() {
                    for second in first..=stream.len() {
                        let chunks = [&stream[..first], &stream[first..second], &stream[second..]];
                        assert_eq!(outcome(&codec, &chunks), whole, "{stream:?} cut at {first} and {second}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_few_at_a_time_come_to_the_same() {
        let streams: [&[u8]; 4] =
            [b"\0\x02hi\0\0\0\x01x\0", b"2:hi,0:,1:x,2:", b"one\r\n\n\nlast\nx", b"xabcyabc--abcz"];
        for (codec, stream) in codecs().into_iter().zip(streams) {
            let whole = outcome(&codec, &[stream]);
            for most in 1..5 {
                let mut decoder = Decoder::new(Arc::clone(&codec), true);
                let (mut all, mut rest) = (Vec::new(), stream);
                while !rest.is_empty() {
                    let mut frames = Frames::default();
                    let Ok(taken) = decoder.feed_some(rest, &mut frames, most) else {
                        panic!("{rest:?}");
                    };
                    assert!(frames.spans.len() <= most && taken > 0);
                    all.extend(frames.first.iter().map(|(held, span)| held[span.start..span.end].to_vec()));
                    all.extend(frames.spans.iter().map(|span| rest[span.start..span.end].to_vec()));
                    rest = &rest[taken..];
                }
                let result = decoder.eof().map(|last| all.extend(last));
                assert_eq!((all, result, decoder.take_skipped().into()), whole, "{stream:?} by {most}");
            }
        }
    }

    #[test]
    fn a_declared_length_reserves_nothing() {
        let codec: Codec = Arc::new(Counted(LengthPrefix::new(4, false, 0, 0, 4, 1 << 31)));
        let mut decoder = Decoder::new(codec, false);
        let mut frames = Frames::default();
        assert!(decoder.feed(b"\x80\0\0\0", &mut frames).is_ok());
        assert!(decoder.held.capacity() < 64);
        assert_eq!(decoder.buffered(), 4);
    }
}
