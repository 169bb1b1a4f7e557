//! Datagrams that say which one they are, and how the right answer to each looks.

use crate::core::errors::{Error, Result};

/// The bytes of a datagram that number it: digits and capitals, which a server that capitalises leaves alone.
pub const NUMBER: usize = 8;
/// The most bytes of a datagram over IPv4.
pub const LONGEST: usize = 65507;

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
/// What follows the number begins at one of so many places of the text.
const PLACES: usize = 64;

/// The right answer to a datagram, after its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The same.
    Echo,
    /// The same in capitals.
    Upper,
}

/// All datagrams of a load: a number, and text that depends on it.
pub struct Datagrams {
    size: usize,
    prefix: Vec<u8>,
    text: Vec<u8>,
    answer: Vec<u8>,
}

impl Datagrams {
    /// Datagrams of `size` bytes, made from `text`; a right answer is `prefix` and what `answer` says.
    pub fn new(size: usize, text: &[u8], prefix: Vec<u8>, answer: Answer) -> Result<Self> {
        if !(NUMBER..=LONGEST).contains(&size) {
            return Err(Error::Value(format!("size {size}: expected from {NUMBER} to {LONGEST} bytes")));
        }
        if text.is_empty() {
            return Err(Error::Value("datagrams need some text".into()));
        }
        let text: Vec<u8> = text.iter().copied().cycle().take(size - NUMBER + PLACES).collect();
        let answer = if answer == Answer::Upper { text.to_ascii_uppercase() } else { text.clone() };
        Ok(Self { size, prefix, text, answer })
    }

    /// The bytes of each.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The bytes of a right answer.
    #[must_use]
    pub fn answer_size(&self) -> usize {
        self.prefix.len() + self.size
    }

    /// Write datagram `number` of a socket, for which `salt` stands.
    pub fn write(&self, salt: usize, number: u64, datagram: &mut [u8]) {
        for (place, digit) in datagram.iter_mut().take(NUMBER).enumerate() {
            *digit = DIGITS[(number >> (5 * place)) as usize % DIGITS.len()];
        }
        let start = place(salt, number);
        datagram[NUMBER..].copy_from_slice(&self.text[start..start + self.size - NUMBER]);
    }

    /// Say which datagram of a socket this is the right answer to, if to any.
    #[must_use]
    pub fn read(&self, salt: usize, answer: &[u8]) -> Option<u64> {
        let payload = answer.strip_prefix(self.prefix.as_slice()).filter(|payload| payload.len() == self.size)?;
        let (digits, text) = payload.split_at(NUMBER);
        let mut number = 0;
        for digit in digits.iter().rev() {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'A'..=b'V' => digit - b'A' + 10,
                _ => return None,
            };
            number = number << 5 | u64::from(value);
        }
        let start = place(salt, number);
        (*text == self.answer[start..start + text.len()]).then_some(number)
    }
}

fn place(salt: usize, number: u64) -> usize {
    (number as usize).wrapping_add(salt.wrapping_mul(7)) % PLACES
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_tells_its_number() {
        for (answer, size) in [(Answer::Echo, 8), (Answer::Echo, 64), (Answer::Upper, 100)] {
            let datagrams = Datagrams::new(size, b"the quick brown fox", b"ACK: ".to_vec(), answer).unwrap();
            let mut datagram = vec![0; size];
            for number in [0, 1, 31, 32, 1_000_000, (1 << 40) - 1] {
                datagrams.write(3, number, &mut datagram);
                let text = if answer == Answer::Upper { datagram.to_ascii_uppercase() } else { datagram.clone() };
                let reply = [b"ACK: ".to_vec(), text].concat();
                assert_eq!(reply.len(), datagrams.answer_size());
                assert_eq!(datagrams.read(3, &reply), Some(number));
                assert_eq!(datagrams.read(3, &reply[1..]), None);
                assert_eq!(datagrams.read(3, &reply[..reply.len() - 1]), None);
                // Of another socket, where there is text to tell.
                assert!(size == 8 || datagrams.read(4, &reply).is_none());
            }
        }
    }

    #[test]
    fn a_changed_byte_is_no_answer() {
        let datagrams = Datagrams::new(32, b"0123456789", Vec::new(), Answer::Echo).unwrap();
        let mut datagram = [0; 32];
        datagrams.write(0, 7, &mut datagram);
        for place in 0..32 {
            let mut changed = datagram;
            changed[place] ^= 1;
            assert_ne!(datagrams.read(0, &changed), Some(7));
        }
    }

    #[test]
    fn what_is_no_datagram_is_refused() {
        for size in [0, 7, 65508] {
            assert!(Datagrams::new(size, b"x", Vec::new(), Answer::Echo).is_err());
        }
        assert!(Datagrams::new(8, b"", Vec::new(), Answer::Echo).is_err());
    }
}
