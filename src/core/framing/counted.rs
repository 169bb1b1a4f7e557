//! Frames whose header says how long they are: the walk from header to header, whatever the headers are.

use super::{Fault, Machine, Passed, Passing, Reason, Span, Step, WrapError};
use crate::core::memory::{NoMemory, Room, append, push};

/// What a header says.
pub enum Head {
    /// So many bytes from its first on must be there before more can be said.
    Need(usize),
    /// A legal frame; positions count from the header's first byte.
    Whole {
        /// The first byte that is given.
        start: usize,
        /// The first byte of the body.
        body: usize,
        /// The byte after the body.
        end: usize,
    },
    /// A bad one.
    Bad(Box<Fault>),
}

/// How one kind of codec writes and reads its headers.
pub trait Header: Send + Sync {
    /// Read the header at the beginning of `bytes`.
    fn read(&self, bytes: &[u8]) -> Head;
    /// The longest legal body.
    fn limit(&self) -> u64;
    /// The byte after every body, where there is one.
    fn trailer(&self) -> Option<u8> {
        None
    }
    /// Whether there is a header at all.
    fn declares(&self) -> bool {
        true
    }
    /// How many bytes a payload of this size is when it is framed; refuses a size that no frame has.
    fn framed(&self, payload: usize) -> Result<usize, WrapError>;
    /// Write a payload, framed, of a size that `framed` has accepted.
    fn write(&self, payload: &[u8], out: &mut Room<'_>);
}

/// The codec of a header.
pub struct Counted<H>(pub H);

impl<H: Header> Counted<H> {
    fn bad_trailer(&self, byte: u8, declared: Option<i128>) -> Fault {
        Fault::corrupt(Reason::Trailer(byte, self.0.trailer().unwrap_or_default()), declared)
    }

    fn declared(&self, body: usize, end: usize) -> Option<i128> {
        self.0.declares().then_some((end - body) as i128)
    }
}

impl<H: Header> Machine for Counted<H> {
    fn limit(&self) -> u64 {
        self.0.limit()
    }

    fn scan(
        &self,
        data: &[u8],
        mut at: usize,
        spans: &mut Vec<Span>,
        most: usize,
    ) -> Result<(usize, Option<Fault>), NoMemory> {
        let trailer = self.0.trailer();
        while at < data.len() && spans.len() < most {
            let rest = &data[at..];
            match self.0.read(rest) {
                Head::Whole { start, body, end } => {
                    let next = end + usize::from(trailer.is_some());
                    if next > rest.len() {
                        break;
                    }
                    if let Some(trailer) = trailer
                        && rest[end] != trailer
                    {
                        return Ok((at, Some(self.bad_trailer(rest[end], self.declared(body, end)))));
                    }
                    push(spans, Span { start: at + start, end: at + end })?;
                    at += next;
                }
                Head::Need(_) => break,
                Head::Bad(fault) => return Ok((at, Some(*fault))),
            }
        }
        Ok((at, None))
    }

    fn resume(&self, held: &mut Vec<u8>, more: &[u8]) -> Result<(usize, Step), NoMemory> {
        let mut taken = 0;
        loop {
            let need = match self.0.read(held) {
                Head::Need(need) => need,
                Head::Whole { start, body, end } => {
                    let next = end + usize::from(self.0.trailer().is_some());
                    if held.len() >= next {
                        if let Some(trailer) = self.0.trailer()
                            && held[end] != trailer
                        {
                            return Ok((taken, Step::Bad(self.bad_trailer(held[end], self.declared(body, end)))));
                        }
                        return Ok((taken, Step::Frame(Span { start, end })));
                    }
                    next
                }
                Head::Bad(fault) => return Ok((taken, Step::Bad(*fault))),
            };
            let part = (need - held.len()).min(more.len() - taken);
            if part == 0 {
                return Ok((taken, Step::More));
            }
            append(held, &more[taken..taken + part])?;
            taken += part;
        }
    }

    fn pass_over(&self, passing: &mut Passing, data: &[u8], declared: Option<i128>) -> Result<Passed, NoMemory> {
        if passing.left > data.len() as u64 {
            passing.left -= data.len() as u64;
            return Ok(Passed::All);
        }
        let end = passing.left as usize;
        passing.left = 0;
        Ok(match self.0.trailer() {
            Some(trailer) if end > 0 && data[end - 1] != trailer => {
                Passed::Bad(self.bad_trailer(data[end - 1], declared))
            }
            _ => Passed::To(end),
        })
    }

    fn finish(&self, held: &[u8]) -> Result<(), Fault> {
        let declared = match self.0.read(held) {
            Head::Whole { body, end, .. } => self.declared(body, end),
            Head::Need(_) | Head::Bad(_) => None,
        };
        Err(Fault::incomplete(held.len(), declared))
    }

    fn framed(&self, payload: usize) -> Result<usize, WrapError> {
        self.0.framed(payload)
    }

    fn write(&self, payload: &[u8], out: &mut Room<'_>) -> Result<(), WrapError> {
        self.0.write(payload, out);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::headers::{Decimal, LengthPrefix, Varint};
    use super::super::{Decoder, Frames, wrap};
    use super::*;

    /// A header that counts how many bytes it is read from.
    struct Counting<H>(H, Arc<AtomicUsize>);

    impl<H: Header> Header for Counting<H> {
        fn read(&self, bytes: &[u8]) -> Head {
            // Headers of this test are within the first 20 bytes, and no header looks further.
            self.1.fetch_add(1 + bytes.len().min(20), Ordering::Relaxed);
            self.0.read(bytes)
        }
        fn limit(&self) -> u64 {
            self.0.limit()
        }
        fn trailer(&self) -> Option<u8> {
            self.0.trailer()
        }
        fn framed(&self, payload: usize) -> Result<usize, WrapError> {
            self.0.framed(payload)
        }
        fn write(&self, payload: &[u8], out: &mut Room<'_>) {
            self.0.write(payload, out);
        }
    }

    fn work(header: impl Header + 'static, size: usize) -> usize {
        let count = Arc::new(AtomicUsize::new(0));
        let codec = Arc::new(Counted(Counting(header, Arc::clone(&count))));
        let wire = wrap(&*codec, &vec![b'x'; size]).unwrap();
        let mut decoder = Decoder::new(codec, false);
        let mut found = 0;
        for byte in wire {
            let mut frames = Frames::default();
            assert!(decoder.feed(&[byte], &mut frames).is_ok());
            found += usize::from(frames.first.is_some());
        }
        assert_eq!(found, 1);
        count.load(Ordering::Relaxed)
    }

    #[test]
    fn byte_by_byte_takes_linear_work() {
        let limit = 1 << 20;
        let length = |size| work(LengthPrefix::new(4, false, 0, 0, 4, limit), size);
        let decimal = |size| work(Decimal::new(b':', Some(b','), limit), size);
        let varint = |size| work(Varint { limit }, size);
        assert!(length(40_000) * 10 <= length(20_000) * 23);
        assert!(decimal(40_000) * 10 <= decimal(20_000) * 23);
        assert!(varint(40_000) * 10 <= varint(20_000) * 23);
    }
}
