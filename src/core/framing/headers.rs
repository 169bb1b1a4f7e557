//! The headers that say how long a frame is: lengths in binary, LEB128 or decimal digits, and none for fixed sizes.

use super::counted::{Head, Header};
use super::{Fault, Kind, Reason, SKIP_FACTOR, WrapError};
use crate::core::memory::Room;

#[cold]
fn too_long(body: u64, limit: u64, overhead: usize) -> Head {
    let discard = (body <= limit.saturating_mul(SKIP_FACTOR)).then(|| body.saturating_add(overhead as u64));
    Head::Bad(Box::new(Fault {
        kind: Kind::TooLong,
        reason: Reason::Over(i128::from(body), limit),
        declared: Some(i128::from(body)),
        discard,
    }))
}

/// The words for a payload that no frame may hold.
#[must_use]
pub fn unfit(body: usize, limit: u64) -> WrapError {
    format!("payload makes a frame of {body} bytes: expected at most max_frame={limit}").into()
}

fn check(body: usize, limit: u64) -> Result<(), WrapError> {
    if body as u64 > limit { Err(unfit(body, limit)) } else { Ok(()) }
}

/// A body of `size` bytes after a header of `head`, or the fault of one over the limit.
fn whole(head: usize, size: u64, limit: u64, trailer: usize) -> Head {
    if size > limit {
        return too_long(size, limit, head + trailer);
    }
    Head::Whole { start: head, body: head, end: head + size as usize }
}

/// A binary length field of `width` bytes after `offset` others.
pub struct LengthPrefix {
    width: usize,
    little: bool,
    offset: usize,
    header: usize,
    adjustment: i64,
    strip: usize,
    limit: u64,
    /// The legal values of the field.
    legal: std::ops::RangeInclusive<u64>,
}

impl LengthPrefix {
    /// The face has checked that some field is legal and that the sizes add up within 63 bits.
    #[must_use]
    pub fn new(width: usize, little: bool, offset: usize, adjustment: i64, strip: usize, limit: u64) -> Self {
        let header = offset + width;
        let least = strip.saturating_sub(header) as i128 - i128::from(adjustment);
        let most = i128::from(limit) - i128::from(adjustment);
        let clamp = |value: i128| value.clamp(0, i128::from(u64::MAX)) as u64;
        Self { width, little, offset, header, adjustment, strip, limit, legal: clamp(least)..=clamp(most) }
    }

    #[inline]
    fn field(&self, bytes: &[u8]) -> u64 {
        let unused = 64 - 8 * self.width as u32;
        // One load and a shift does for every width, where eight bytes are there to load.
        if let Some(eight) = bytes[self.offset..].first_chunk::<8>() {
            if self.little {
                u64::from_le_bytes(*eight) << unused >> unused
            } else {
                u64::from_be_bytes(*eight) >> unused
            }
        } else {
            let field = &bytes[self.offset..self.header];
            let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
            if self.little { field.iter().rev().fold(0, join) } else { field.iter().fold(0, join) }
        }
    }

    #[cold]
    fn illegal(&self, field: u64) -> Head {
        let body = i128::from(field) + i128::from(self.adjustment);
        let size = body + self.header as i128;
        let fault = if body < 0 {
            Fault::corrupt(Reason::Negative(body), Some(body))
        } else if size < self.strip as i128 {
            Fault::corrupt(Reason::Short(size as u64, self.strip as u64), Some(body))
        } else {
            let most = i128::from(self.limit) * i128::from(SKIP_FACTOR);
            let discard = (body <= most).then_some(u64::try_from(size).unwrap_or(u64::MAX));
            Fault { kind: Kind::TooLong, reason: Reason::Over(body, self.limit), declared: Some(body), discard }
        };
        Head::Bad(Box::new(fault))
    }
}

impl Header for LengthPrefix {
    #[inline]
    fn read(&self, bytes: &[u8]) -> Head {
        if bytes.len() < self.header {
            return Head::Need(self.header);
        }
        let field = self.field(bytes);
        if !self.legal.contains(&field) {
            return self.illegal(field);
        }
        let size = field.wrapping_add_signed(self.adjustment) as usize;
        Head::Whole { start: self.strip, body: self.header, end: self.header + size }
    }

    fn limit(&self) -> u64 {
        self.limit
    }

    fn framed(&self, payload: usize) -> Result<usize, WrapError> {
        // Decoding gives the wire less its first `strip` bytes, so the payload is all that follows those.
        let size = self.strip.saturating_add(payload);
        if size < self.header {
            let least = self.header - self.strip;
            return Err(format!(
                "payload has {payload} bytes: expected at least the {least} of the header that it includes"
            )
            .into());
        }
        let body = size - self.header;
        check(body, self.limit)?;
        let field = body as i128 - i128::from(self.adjustment);
        if field < 0 || field >= 1i128 << (8 * self.width) {
            let width = self.width;
            return Err(format!(
                "payload makes a body of {body} bytes: expected a length that a field of {width} bytes can hold"
            )
            .into());
        }
        Ok(size)
    }

    fn write(&self, payload: &[u8], out: &mut Room<'_>) {
        let body = self.strip + payload.len() - self.header;
        let field = (body as u64).wrapping_sub(self.adjustment as u64);
        // What is stripped is zero; what is not is the payload's, but for the field.
        let zeros = self.offset.min(self.strip);
        out.zeros(zeros);
        out.append(&payload[..self.offset - zeros]);
        if self.little {
            out.append(&field.to_le_bytes()[..self.width]);
        } else {
            out.append(&field.to_be_bytes()[8 - self.width..]);
        }
        out.zeros(self.strip.saturating_sub(self.header));
        out.append(&payload[self.header.saturating_sub(self.strip)..]);
    }
}

/// multiprocessing's header: a signed 32-bit length, where -1 announces an unsigned 64-bit one.
pub struct Escaped {
    /// The longest body.
    pub limit: u64,
}

impl Header for Escaped {
    fn read(&self, bytes: &[u8]) -> Head {
        let Some((short, rest)) = bytes.split_first_chunk::<4>() else {
            return Head::Need(4);
        };
        match i32::from_be_bytes(*short) {
            -1 => match rest.first_chunk::<8>() {
                Some(long) => whole(12, u64::from_be_bytes(*long), self.limit, 0),
                None => Head::Need(12),
            },
            length if length < 0 => {
                let length = i128::from(length);
                Head::Bad(Box::new(Fault::corrupt(Reason::Negative(length), Some(length))))
            }
            length => whole(4, length as u64, self.limit, 0),
        }
    }

    fn limit(&self) -> u64 {
        self.limit
    }

    fn framed(&self, payload: usize) -> Result<usize, WrapError> {
        check(payload, self.limit)?;
        Ok(payload + if i32::try_from(payload).is_ok() { 4 } else { 12 })
    }

    fn write(&self, payload: &[u8], out: &mut Room<'_>) {
        if let Ok(length) = i32::try_from(payload.len()) {
            out.append(&length.to_be_bytes());
        } else {
            out.append(&(-1i32).to_be_bytes());
            out.append(&(payload.len() as u64).to_be_bytes());
        }
        out.append(payload);
    }
}

/// A LEB128 length: seven bits a byte, the least significant first, the eighth set in all but the last.
pub struct Varint {
    /// The longest body.
    pub limit: u64,
}

impl Header for Varint {
    fn read(&self, bytes: &[u8]) -> Head {
        let mut size = 0;
        for (place, &byte) in bytes.iter().take(10).enumerate() {
            // The tenth byte holds bit 63 and nothing else.
            if place == 9 && byte > 1 {
                return Head::Bad(Box::new(Fault::corrupt(Reason::Varint, None)));
            }
            size |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return whole(place + 1, size, self.limit, 0);
            }
        }
        Head::Need(bytes.len() + 1)
    }

    fn limit(&self) -> u64 {
        self.limit
    }

    fn framed(&self, payload: usize) -> Result<usize, WrapError> {
        check(payload, self.limit)?;
        let bits = usize::BITS - (payload | 1).leading_zeros();
        Ok(payload + bits.div_ceil(7) as usize)
    }

    fn write(&self, payload: &[u8], out: &mut Room<'_>) {
        let mut size = payload.len();
        while size > 0x7f {
            out.append(&[size as u8 | 0x80]);
            size >>= 7;
        }
        out.append(&[size as u8]);
        out.append(payload);
    }
}

/// A length in decimal digits up to a separator, and perhaps a trailer: netstrings, RFC 6587 octet counting.
pub struct Decimal {
    separator: u8,
    trailer: Option<u8>,
    limit: u64,
    digits: usize,
}

impl Decimal {
    /// The face has checked that the separator is no digit.
    #[must_use]
    pub fn new(separator: u8, trailer: Option<u8>, limit: u64) -> Self {
        Self { separator, trailer, limit, digits: limit.to_string().len() }
    }

    #[cold]
    fn bad(kind: Kind, reason: Reason) -> Head {
        Head::Bad(Box::new(Fault { kind, reason, declared: None, discard: None }))
    }
}

impl Header for Decimal {
    fn read(&self, bytes: &[u8]) -> Head {
        let mut size = 0u64;
        for (place, &byte) in bytes.iter().take(self.digits + 1).enumerate() {
            if byte == self.separator && place > 0 {
                return whole(place + 1, size, self.limit, usize::from(self.trailer.is_some()));
            }
            if !byte.is_ascii_digit() {
                return Self::bad(Kind::Corrupt, Reason::Digit(byte));
            }
            if place > 0 && size == 0 {
                return Self::bad(Kind::Corrupt, Reason::LeadingZero);
            }
            if place == self.digits {
                return Self::bad(Kind::TooLong, Reason::Digits(place, self.limit));
            }
            // The limit is below 2**63, so its 19 digits at most cannot overflow.
            size = 10 * size + u64::from(byte - b'0');
        }
        Head::Need(bytes.len() + 1)
    }

    fn limit(&self) -> u64 {
        self.limit
    }

    fn trailer(&self) -> Option<u8> {
        self.trailer
    }

    fn framed(&self, payload: usize) -> Result<usize, WrapError> {
        check(payload, self.limit)?;
        let digits = payload.checked_ilog10().unwrap_or(0) as usize + 1;
        Ok(digits + 1 + payload + usize::from(self.trailer.is_some()))
    }

    fn write(&self, payload: &[u8], out: &mut Room<'_>) {
        out.append(payload.len().to_string().as_bytes());
        out.append(&[self.separator]);
        out.append(payload);
        out.append(self.trailer.as_slice());
    }
}

/// No header at all: every frame has the same size.
pub struct Fixed {
    /// That size.
    pub size: usize,
}

impl Header for Fixed {
    fn read(&self, _: &[u8]) -> Head {
        Head::Whole { start: 0, body: 0, end: self.size }
    }

    fn limit(&self) -> u64 {
        self.size as u64
    }

    fn declares(&self) -> bool {
        false
    }

    fn framed(&self, payload: usize) -> Result<usize, WrapError> {
        if payload != self.size {
            return Err(format!("payload has {payload} bytes: expected {}, the size of every frame", self.size).into());
        }
        Ok(payload)
    }

    fn write(&self, payload: &[u8], out: &mut Room<'_>) {
        out.append(payload);
    }
}
