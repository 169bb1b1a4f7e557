//! Every decoder: what comes out does not depend on the cuts, is bounded, and is what was encoded.

use std::sync::Arc;

use oxisock::core::framing::counted::Counted;
use oxisock::core::framing::delimited::Delimited;
use oxisock::core::framing::headers::{Decimal, Escaped, Fixed, LengthPrefix, Varint};
use oxisock::core::framing::{Codec, Decoder, FeedError, FrameError, Frames, Skipped, wrap};

use super::script::Script;

const MOST: u64 = i64::MAX as u64;
const LONGEST_HEADER: u64 = 16 << 20;

/// A codec, as the face lets it through, and the most that one of its frames takes on the wire.
fn codec(script: &mut Script<'_>) -> Option<(Codec, u64)> {
    let limit = match script.byte() % 4 {
        0 => script.between(1, MOST),
        _ => 1 + script.number(1) % 40,
    };
    let (codec, around): (Codec, u64) = match script.byte() % 8 {
        0 => return length_prefix(script, limit),
        1 => (Arc::new(Counted(Escaped { limit })), 12),
        2 => (Arc::new(Counted(Varint { limit })), 10),
        3 => (Arc::new(Counted(Decimal::new(b':', Some(b','), limit))), 21),
        4 => (Arc::new(Counted(Decimal::new(b' ', None, limit))), 20),
        5 => (Arc::new(Counted(Fixed { size: limit as usize })), 0),
        6 => (Arc::new(Delimited::lines(script.yes(), script.yes(), limit)), 2),
        _ => {
            let mut delimiters: Vec<Vec<u8>> = Vec::new();
            for _ in 0..=script.one_of(4) {
                let size = 1 + script.one_of(4);
                let delimiter: Vec<u8> = (0..size).map(|_| b"ab\n-"[script.one_of(4)]).collect();
                if !delimiters.contains(&delimiter) {
                    delimiters.push(delimiter);
                }
            }
            let hides = |outer: &Vec<u8>, inner: &Vec<u8>| {
                outer[..outer.len() - 1].windows(inner.len()).any(|part| part == inner.as_slice())
            };
            if delimiters.iter().any(|outer| delimiters.iter().any(|inner| hides(outer, inner))) {
                return None;
            }
            (Arc::new(Delimited::new(delimiters, script.yes(), script.yes(), limit)), 4)
        }
    };
    Some((codec, limit.saturating_add(around)))
}

fn length_prefix(script: &mut Script<'_>, limit: u64) -> Option<(Codec, u64)> {
    let width = 1 + script.one_of(8) as u64;
    let offset = if script.yes() { script.between(0, LONGEST_HEADER) } else { script.number(1) % 6 };
    let header = offset + width;
    if header.checked_add(limit)? > MOST {
        return None;
    }
    let adjustment = match script.byte() % 3 {
        0 => 0,
        1 => i64::from(script.byte() as i8),
        _ => script.number(8) as i64,
    };
    let strip = match script.byte() % 3 {
        0 => header,
        1 => 0,
        _ => script.between(0, LONGEST_HEADER.min(header + 9)),
    };
    let least = strip.saturating_sub(header);
    let most = (1i128 << (8 * width)) - 1 + i128::from(adjustment);
    if (offset < strip && strip < header)
        || least > limit
        || most < i128::from(least)
        || i128::from(adjustment) > i128::from(limit)
    {
        return None;
    }
    let codec = LengthPrefix::new(width as usize, script.yes(), offset as usize, adjustment, strip as usize, limit);
    Some((Arc::new(Counted(codec)), header + limit))
}

/// All that a stream comes to.
#[derive(Debug, PartialEq)]
struct Outcome {
    frames: Vec<Vec<u8>>,
    error: Option<FrameError>,
    skipped: Vec<Skipped>,
}

fn decode<'a>(codec: &Codec, skip: bool, most: u64, chunks: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = Decoder::new(Arc::clone(codec), skip);
    let mut frames = Vec::new();
    let mut error = None;
    for chunk in chunks {
        let mut found = Frames::default();
        let result = decoder.feed(chunk, &mut found);
        frames.extend(found.first.iter().map(|(held, span)| held[span.start..span.end].to_vec()));
        frames.extend(found.spans.iter().map(|span| chunk[span.start..span.end].to_vec()));
        let bound = most.saturating_add(chunk.len() as u64);
        assert!(decoder.buffered() as u64 <= bound, "{} bytes are held of {bound}", decoder.buffered());
        if let Err(failure) = result {
            let mut nothing = Frames::default();
            assert_eq!(decoder.feed(b"more", &mut nothing), Err(failure), "it fails for ever");
            assert!(nothing.first.is_none() && nothing.spans.is_empty());
            let FeedError::Frame(fault) = failure else { panic!("{failure:?}") };
            error = Some(fault);
            break;
        }
    }
    match decoder.eof() {
        Ok(last) => {
            assert!(error.is_none(), "an end like any other after {error:?}");
            frames.extend(last);
            assert_eq!(decoder.eof(), Ok(None));
            assert_eq!(decoder.feed(b"more", &mut Frames::default()), Err(FeedError::Ended));
        }
        Err(FeedError::Frame(fault)) => {
            assert!(error.is_none_or(|before| before == fault), "{error:?} became {fault:?}");
            error = Some(fault);
        }
        Err(other) => panic!("{other:?}"),
    }
    let count = decoder.skipped_count();
    let skipped: Vec<Skipped> = decoder.take_skipped().into();
    assert_eq!(skipped.len() as u64, count.min(1000));
    Outcome { frames, error, skipped }
}

pub fn run(data: &[u8]) {
    let script = &mut Script::new(data);
    let Some((codec, most)) = codec(script) else { return };
    let skip = script.yes();
    let cuts: Vec<usize> = (0..script.one_of(8)).map(|_| script.number(1) as usize).collect();
    let mut stream = Vec::new();
    while !script.over() {
        let size = script.one_of(40);
        if script.yes() {
            stream.extend_from_slice(script.bytes(size));
            continue;
        }
        // A good frame, so that the bytes need not be guessed.
        if let Ok(wire) = wrap(&*codec, script.bytes(size))
            && wire.len() < 1 << 16
        {
            let alone = decode(&codec, skip, most, std::iter::once(&wire[..]));
            assert!(
                alone.frames.len() == 1 && alone.error.is_none() && alone.skipped.is_empty(),
                "{wire:?}: {alone:?}"
            );
            stream.extend_from_slice(&wire);
        }
    }
    let whole = decode(&codec, skip, most, std::iter::once(&stream[..]));
    assert_eq!(decode(&codec, skip, most, stream.chunks(1)), whole, "byte by byte: {stream:?}");
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).chain([0, stream.len()]).collect();
    places.sort_unstable();
    let chunks = || places.windows(2).map(|edges| &stream[edges[0]..edges[1]]);
    assert_eq!(decode(&codec, skip, most, chunks()), whole, "cut at {places:?}: {stream:?}");
    // What was left out lies in the stream, in order, and does not overlap.
    let end = whole.skipped.iter().fold(0, |end, skipped| {
        assert!(skipped.offset >= end && skipped.length > 0, "{:?}", whole.skipped);
        skipped.offset + skipped.length
    });
    assert!(end <= stream.len() as u64);
}
