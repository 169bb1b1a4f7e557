//! What is said on every connection, over and over, and what the right answers are.

use crate::core::errors::{Error, Result};
use crate::core::framing::Codec;
use crate::core::memory::{append, with_capacity};

/// The script is repeated to so many bytes, so that one write takes many small messages.
const REPEATED: usize = 64 << 10;

/// What is to come back.
pub enum Replies {
    /// A stream of these, one for each request, all of the same length.
    Stream(Vec<Vec<u8>>),
    /// Frames with these payloads, one for each request.
    Frames(Codec, Vec<Vec<u8>>),
    /// One frame for each request, whatever it holds.
    AnyFrames(Codec),
}

/// The requests, one after the other, and their replies.
pub struct Script {
    pub(super) requests: Vec<u8>,
    /// The bytes of a request.
    pub(super) request: usize,
    /// How many requests there are.
    pub(super) count: usize,
    pub(super) expected: Expected,
}

pub(super) enum Expected {
    Stream { bytes: Vec<u8>, size: usize },
    Frames { codec: Codec, payloads: Vec<Vec<u8>> },
    AnyFrames(Codec),
}

impl Script {
    /// Join requests, which are all of one length, and replies.
    pub fn new(requests: &[Vec<u8>], replies: Replies) -> Result<Self> {
        let (joined, request) = join(requests, "requests")?;
        let times = REPEATED.div_ceil(joined.len());
        let matched = |count: usize| {
            if count == requests.len() {
                return Ok(());
            }
            Err(Error::Value(format!("there are {count} replies to {} requests", requests.len())))
        };
        let expected = match replies {
            Replies::Stream(replies) => {
                matched(replies.len())?;
                let (bytes, size) = join(&replies, "replies")?;
                Expected::Stream { bytes: repeat(&bytes, times)?, size }
            }
            Replies::Frames(codec, payloads) => {
                matched(payloads.len())?;
                Expected::Frames { codec, payloads }
            }
            Replies::AnyFrames(codec) => Expected::AnyFrames(codec),
        };
        Ok(Self { requests: repeat(&joined, times)?, request, count: requests.len() * times, expected })
    }
}

fn join(messages: &[Vec<u8>], what: &str) -> Result<(Vec<u8>, usize)> {
    let size = messages.first().map_or(0, Vec::len);
    if size == 0 || messages.iter().any(|message| message.len() != size) {
        return Err(Error::Value(format!("{what} must be some bytes each, all of one length")));
    }
    let mut joined = Vec::new();
    for message in messages {
        append(&mut joined, message)?;
    }
    Ok((joined, size))
}

fn repeat(bytes: &[u8], times: usize) -> Result<Vec<u8>> {
    let mut all = with_capacity(bytes.len().saturating_mul(times))?;
    for _ in 0..times {
        all.extend_from_slice(bytes);
    }
    Ok(all)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let two = [b"one".to_vec(), b"two".to_vec()];
        let refused = |requests: &[Vec<u8>], replies: &[Vec<u8>]| {
            Script::new(requests, Replies::Stream(replies.to_vec())).map(|_| ()).unwrap_err().to_string()
        };
        assert_eq!(refused(&two, &two[..1]), "there are 1 replies to 2 requests");
        assert!(refused(&[], &[]).starts_with("requests must be"));
        assert!(refused(&[b"x".to_vec(), b"xx".to_vec()], &two).starts_with("requests must be"));
        assert!(refused(&two, &[b"x".to_vec(), b"xx".to_vec()]).starts_with("replies must be"));
        let script = Script::new(&two, Replies::Stream(two.to_vec())).unwrap();
        assert!(script.requests.len() >= REPEATED && script.requests.len() == script.count * script.request);
    }
}
