//! Frames that end at a terminator: lines, and one or several delimiters of any length.

use memchr::memmem::Finder;

use super::headers::unfit;
use super::{Fault, Kind, Machine, Passed, Passing, Reason, Span, Step, WrapError};
use crate::core::memory::{NoMemory, Room, append, push};

/// How terminators are found.
enum Search {
    /// A single byte.
    Byte(u8),
    /// LF, with the one CR before it.
    Lines,
    /// A single longer delimiter.
    Pattern(Box<Finder<'static>>),
    /// Several: which bytes begin one.
    Set(Box<[bool; 256]>),
}

/// Frames end at the earliest end of a delimiter.
///
/// No delimiter contains another but as its suffix. So of two matches the one that begins first also ends first (or
/// with the other, and is then the longer): the leftmost match is the right one, and more bytes cannot change it.
pub struct Delimited {
    search: Search,
    delimiters: Vec<Vec<u8>>,
    keep: bool,
    eof_frame: bool,
    limit: u64,
    /// How many bytes of a terminator a chunk may end with, at most.
    overlap: usize,
}

impl Delimited {
    /// The face has checked the delimiters: at least one, none of them empty, none within another.
    #[must_use]
    pub fn new(delimiters: Vec<Vec<u8>>, keep: bool, eof_frame: bool, limit: u64) -> Self {
        let search = match &delimiters[..] {
            [one] if one.len() == 1 => Search::Byte(one[0]),
            [one] => Search::Pattern(Box::new(Finder::new(one).into_owned())),
            several => {
                let mut begins = Box::new([false; 256]);
                for delimiter in several {
                    begins[usize::from(delimiter[0])] = true;
                }
                Search::Set(begins)
            }
        };
        let overlap = delimiters.iter().map(Vec::len).max().unwrap_or(1) - 1;
        Self { search, delimiters, keep, eof_frame, limit, overlap }
    }

    /// Lines, as the contract has them.
    #[must_use]
    pub fn lines(keep: bool, eof_frame: bool, limit: u64) -> Self {
        let delimiters = vec![b"\n".to_vec(), b"\r\n".to_vec()];
        Self { search: Search::Lines, ..Self::new(delimiters, keep, eof_frame, limit) }
    }

    /// Where the first terminator from `at` on begins and ends.
    fn find(&self, data: &[u8], at: usize) -> Option<(usize, usize)> {
        let rest = &data[at..];
        #[cfg(test)]
        tests::SEARCHED.set(tests::SEARCHED.get() + rest.len());
        match &self.search {
            Search::Byte(byte) => memchr::memchr(*byte, rest).map(|found| (at + found, at + found + 1)),
            Search::Lines => memchr::memchr(b'\n', rest).map(|found| line_end(data, at, at + found)),
            Search::Pattern(finder) => finder.find(rest).map(|found| (at + found, at + found + finder.needle().len())),
            Search::Set(begins) => rest.iter().enumerate().find_map(|(place, byte)| {
                if !begins[usize::from(*byte)] {
                    return None;
                }
                let here = &rest[place..];
                let found = self.delimiters.iter().find(|delimiter| here.starts_with(delimiter))?;
                Some((at + place, at + place + found.len()))
            }),
        }
    }

    /// How many of the last bytes may be the beginning of a terminator.
    fn partial(&self, held: &[u8]) -> usize {
        let longest = self.overlap.min(held.len());
        let begins = |length: &usize| {
            let end = &held[held.len() - length..];
            self.delimiters.iter().any(|delimiter| delimiter.len() > *length && delimiter.starts_with(end))
        };
        (1..=longest).rev().find(begins).unwrap_or(0)
    }

    /// Whether no bytes to come can make a legal frame of `held`, which has no terminator yet.
    fn hopeless(&self, held: &[u8]) -> bool {
        held.len() as u64 > self.limit && (held.len() - self.partial(held)) as u64 > self.limit
    }

    fn too_long(&self) -> Fault {
        Fault { kind: Kind::TooLong, reason: Reason::Unterminated(self.limit), declared: None, discard: Some(0) }
    }

    /// The frame from `at` on whose terminator was found at `start..end`; None if it is too long.
    #[inline]
    fn frame(&self, at: usize, start: usize, end: usize) -> Option<Span> {
        if (start - at) as u64 > self.limit {
            return None;
        }
        Some(Span { start: at, end: if self.keep { end } else { start } })
    }

    /// Find frames that end at one byte, which is most of them.
    fn scan_byte(
        &self,
        byte: u8,
        lines: bool,
        data: &[u8],
        mut at: usize,
        spans: &mut Vec<Span>,
        most: usize,
    ) -> Result<(usize, Option<Fault>), NoMemory> {
        let base = at;
        for found in memchr::memchr_iter(byte, &data[base..]) {
            let found = base + found;
            let (start, end) = if lines { line_end(data, at, found) } else { (found, found + 1) };
            let Some(span) = self.frame(at, start, end) else {
                return Ok((at, Some(self.too_long())));
            };
            push(spans, span)?;
            at = end;
            if spans.len() >= most {
                return Ok((at, None));
            }
        }
        Ok((at, self.hopeless(&data[at..]).then(|| self.too_long())))
    }
}

/// The terminator that ends with the LF at `found`, in a line that begins at `at`.
#[inline]
fn line_end(data: &[u8], at: usize, found: usize) -> (usize, usize) {
    let with_return = found > at && data[found - 1] == b'\r';
    (found - usize::from(with_return), found + 1)
}

impl Machine for Delimited {
    fn limit(&self) -> u64 {
        self.limit
    }

    fn scan(
        &self,
        data: &[u8],
        mut at: usize,
        spans: &mut Vec<Span>,
        most: usize,
    ) -> Result<(usize, Option<Fault>), NoMemory> {
        match self.search {
            Search::Byte(byte) => return self.scan_byte(byte, false, data, at, spans, most),
            Search::Lines => return self.scan_byte(b'\n', true, data, at, spans, most),
            Search::Pattern(_) | Search::Set(_) => {}
        }
        while let Some((start, end)) = self.find(data, at) {
            let Some(span) = self.frame(at, start, end) else {
                return Ok((at, Some(self.too_long())));
            };
            push(spans, span)?;
            at = end;
            if spans.len() >= most {
                return Ok((at, None));
            }
        }
        Ok((at, self.hopeless(&data[at..]).then(|| self.too_long())))
    }

    fn resume(&self, held: &mut Vec<u8>, more: &[u8]) -> Result<(usize, Step), NoMemory> {
        let before = held.len();
        // No legal frame takes more than this, and its terminator.
        let room = (self.limit as usize).saturating_add(self.overlap + 1).saturating_sub(before);
        let window = &more[..more.len().min(room)];
        // `held` was searched when it came; what is new is the seam, then the window.
        let lead = self.overlap.min(window.len());
        append(held, &window[..lead])?;
        let found = match self.find(held, before.saturating_sub(self.overlap)) {
            Some(found) => Some(found),
            None => self.find(window, 0).map(|(start, end)| (before + start, before + end)),
        };
        let Some((start, end)) = found else {
            append(held, &window[lead..])?;
            let step = if self.hopeless(held) { Step::Bad(self.too_long()) } else { Step::More };
            return Ok((window.len(), step));
        };
        let taken = end - before;
        if taken < lead {
            held.truncate(end);
        } else {
            append(held, &window[lead..taken])?;
        }
        Ok((taken, self.frame(0, start, end).map_or_else(|| Step::Bad(self.too_long()), Step::Frame)))
    }

    fn pass_over(&self, passing: &mut Passing, data: &[u8], _: Option<i128>) -> Result<Passed, NoMemory> {
        let retained = &mut passing.retained;
        let before = retained.len();
        append(retained, &data[..self.overlap.min(data.len())])?;
        if let Some((_, end)) = self.find(retained, 0) {
            retained.clear();
            return Ok(Passed::To(end - before));
        }
        if let Some((_, end)) = self.find(data, 0) {
            retained.clear();
            return Ok(Passed::To(end));
        }
        if data.len() > self.overlap {
            retained.clear();
            append(retained, &data[data.len() - self.overlap..])?;
        } else {
            let surplus = retained.len().saturating_sub(self.overlap);
            retained.drain(..surplus);
        }
        Ok(Passed::All)
    }

    fn finish(&self, held: &[u8]) -> Result<(), Fault> {
        if !self.eof_frame {
            return Err(Fault::incomplete(held.len(), None));
        }
        if held.len() as u64 > self.limit { Err(self.too_long()) } else { Ok(()) }
    }

    fn framed(&self, payload: usize) -> Result<usize, WrapError> {
        if payload as u64 > self.limit {
            return Err(unfit(payload, self.limit));
        }
        Ok(payload + self.delimiters[0].len())
    }

    fn write(&self, payload: &[u8], out: &mut Room<'_>) -> Result<(), WrapError> {
        let begin = out.written().len();
        out.append(payload);
        out.append(&self.delimiters[0]);
        // The search finds the wire's end at the latest, so what it finds before that is within the payload.
        match self.find(&out.written()[begin..], 0) {
            Some((start, _)) if start < payload.len() => {
                let words = "expected none, because a frame ends there";
                Err(format!("payload has a delimiter at byte {start}: {words}").into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use super::super::{Decoder, Frames};
    use super::*;

    thread_local! {
        /// The bytes that were searched in this thread.
        pub static SEARCHED: Cell<usize> = const { Cell::new(0) };
    }

    /// How many bytes are searched in a line of this size that comes byte by byte.
    fn work(delimiters: &[&[u8]], size: usize) -> usize {
        let delimiters: Vec<Vec<u8>> = delimiters.iter().map(|each| each.to_vec()).collect();
        let end = delimiters[0].clone();
        let mut decoder = Decoder::new(Arc::new(Delimited::new(delimiters, false, false, 1 << 20)), false);
        SEARCHED.set(0);
        let mut found = 0;
        for byte in std::iter::repeat_n(b'x', size).chain(end) {
            let mut frames = Frames::default();
            assert!(decoder.feed(&[byte], &mut frames).is_ok());
            found += usize::from(frames.first.is_some()) + frames.spans.len();
        }
        assert_eq!(found, 1);
        SEARCHED.get()
    }

    #[test]
    fn byte_by_byte_takes_linear_work() {
        let sets: [&[&[u8]]; 4] = [&[b"\n"], &[b"--end--"], &[b"\r\n", b"\n"], &[b"abcdef", b"--"]];
        for delimiters in sets {
            assert!(work(delimiters, 40_000) * 10 <= work(delimiters, 20_000) * 23, "{delimiters:?}");
        }
    }
}
