//! Framing for Python: framers, the decoder, and its errors as exceptions.

use std::cell::Cell;
use std::iter;
use std::sync::Arc;

use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyList, PyMemoryView, PyType};

use super::arguments::{no_iterable, whole};
use super::buffer::{Buffer, bytes_in_list, bytes_of, bytes_with, list_of};
use crate::core::framing::counted::Counted;
use crate::core::framing::delimited::Delimited;
use crate::core::framing::headers::{Decimal, Escaped, Fixed, LengthPrefix, Varint};
use crate::core::framing::{self as core, Codec, FeedError, FrameError, Frames, Kind, Span, WrapError};
use crate::core::memory::{NoMemory, push};

mod exceptions {
    pyo3::import_exception!(oxisock.errors, FrameTooLong);
    pyo3::import_exception!(oxisock.errors, FrameCorrupt);
    pyo3::import_exception!(oxisock.errors, IncompleteFrame);
}

const LEAST_BUFFER: isize = 64 << 10;
const MOST_BUFFER: isize = 256 << 10;

/// Scratch space for more frames than this is not kept: it is 16 bytes each.
const KEPT_SPANS: usize = 64 << 10;

thread_local! {
    // Taken while in use, so that a finaliser that feeds another decoder meanwhile finds none and makes its own.
    static SPANS: Cell<Vec<Span>> = const { Cell::new(Vec::new()) };
}

fn exception(py: Python<'_>, kind: Kind) -> Bound<'_, PyType> {
    match kind {
        Kind::TooLong => exceptions::FrameTooLong::type_object(py),
        Kind::Corrupt => exceptions::FrameCorrupt::type_object(py),
        Kind::Incomplete => exceptions::IncompleteFrame::type_object(py),
    }
}

fn frame_error(py: Python<'_>, error: FrameError, frames: Bound<'_, PyList>) -> PyErr {
    let arguments = (error.reason.to_string(), error.offset, error.declared, error.limit, frames.unbind());
    PyErr::from_type(exception(py, error.kind), arguments)
}

pub(super) fn feed_error(py: Python<'_>, error: FeedError, frames: Bound<'_, PyList>) -> PyErr {
    match error {
        FeedError::Frame(error) => frame_error(py, error, frames),
        FeedError::Ended => PyValueError::new_err("the stream has ended: eof() was called"),
        FeedError::Memory => {
            let error = PyMemoryError::new_err(());
            // Where there is no room for that either, they are lost.
            let _ = error.value(py).setattr("frames", frames);
            error
        }
    }
}

fn wrap_error(error: WrapError) -> PyErr {
    match error {
        WrapError::Unfit(words) => PyValueError::new_err(words),
        WrapError::Memory => no_memory(),
    }
}

fn no_memory() -> PyErr {
    PyMemoryError::new_err(())
}

/// One stream being cut into frames.
#[pyclass(module = "oxisock._native")]
pub struct Decoder {
    inner: core::Decoder,
    scratch: Option<Py<PyByteArray>>,
}

impl Decoder {
    #[inline]
    fn cut<'py>(&mut self, py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyList>> {
        self.cut_some(py, data, usize::MAX).map(|(list, _)| list)
    }

    #[inline]
    fn cut_some<'py>(&mut self, py: Python<'py>, data: &[u8], most: usize) -> PyResult<(Bound<'py, PyList>, usize)> {
        let mut frames = Frames { first: None, spans: SPANS.take() };
        let result = self.inner.feed_some(data, &mut frames, most);
        let rest = frames.spans.iter().map(|span| &data[span.start..span.end]);
        let list = match &frames.first {
            None => list_of(py, frames.spans.len(), rest),
            Some((held, span)) => {
                list_of(py, frames.spans.len() + 1, iter::once(&held[span.start..span.end]).chain(rest))
            }
        };
        if frames.spans.capacity() <= KEPT_SPANS {
            frames.spans.clear();
            SPANS.set(frames.spans);
        }
        // Frames that Python has no room for are lost, and with them the stream.
        let list = list.inspect_err(|_| self.inner.lose())?;
        match result {
            Ok(taken) => Ok((list, taken)),
            Err(error) => Err(feed_error(py, error, list)),
        }
    }

    fn check_open(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.check_open().map_err(|error| feed_error(py, error, PyList::empty(py)))
    }
}

#[pymethods]
impl Decoder {
    /// Bytes held back until more of their frame is there.
    #[getter]
    fn buffered(&self) -> usize {
        self.inner.buffered()
    }

    /// Frames left out so far, those included that `take_skipped` no longer knows.
    #[getter]
    fn skipped_count(&self) -> u64 {
        self.inner.skipped_count()
    }

    /// Give the frames left out since the last call, at most the last 1,000, and forget them.
    fn take_skipped<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let class = py.import("oxisock.types")?.getattr("SkippedFrame")?;
        let limit = self.inner.limit();
        let list = PyList::empty(py);
        for skipped in self.inner.take_skipped() {
            let kind = exception(py, skipped.kind);
            list.append(class.call1((skipped.offset, skipped.length, kind, skipped.declared, limit))?)?;
        }
        Ok(list)
    }

    /// Take the next bytes of the stream and give the frames that they complete.
    #[pyo3(signature = (data, /))]
    fn feed<'py>(&mut self, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let buffer = Buffer::of(data, "data")?;
        self.cut(data.py(), buffer.as_slice())
    }

    /// Take as many of the next bytes as some frames need; give the frames, and how many bytes that were.
    #[pyo3(signature = (data, most, /))]
    fn feed_some<'py>(&mut self, data: &Bound<'py, PyAny>, most: usize) -> PyResult<(Bound<'py, PyList>, usize)> {
        let buffer = Buffer::of(data, "data")?;
        self.cut_some(data.py(), buffer.as_slice(), most)
    }

    /// Take the end of the stream and give the frame that it completes, if any.
    fn eof<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        match self.inner.eof() {
            Ok(frame) => list_of(py, usize::from(frame.is_some()), frame.iter().map(Vec::as_slice)),
            Err(error) => Err(feed_error(py, error, PyList::empty(py))),
        }
    }

    /// Give room to receive into, about `sizehint` bytes of it and at least one.
    #[pyo3(signature = (sizehint, /))]
    fn get_buffer<'py>(&mut self, sizehint: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyMemoryView>> {
        let py = sizehint.py();
        self.check_open(py)?;
        let sizehint = whole(sizehint, "sizehint", -1, isize::MAX)?;
        let size = sizehint.clamp(LEAST_BUFFER, MOST_BUFFER) as usize;
        let scratch = match &self.scratch {
            Some(scratch) if scratch.bind(py).len() >= size => scratch.clone_ref(py),
            _ => {
                let scratch = PyByteArray::new_with(py, size, |_| Ok(()))?.unbind();
                self.scratch = Some(scratch.clone_ref(py));
                scratch
            }
        };
        PyMemoryView::from(scratch.bind(py).as_any())
    }

    /// Take the first `n` bytes of what `get_buffer` gave as the next of the stream.
    #[pyo3(signature = (n, /))]
    fn buffer_updated<'py>(&mut self, n: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let py = n.py();
        let scratch = self.scratch.as_ref().map(|scratch| scratch.clone_ref(py));
        let room = scratch.as_ref().map_or(0, |scratch| scratch.bind(py).len());
        let size = whole(n, "n", 0, room as isize)? as usize;
        let Some(scratch) = scratch else {
            return self.cut(py, &[]);
        };
        let scratch = scratch.into_bound(py).into_any();
        let buffer = Buffer::of(&scratch, "scratch")?;
        self.cut(py, &buffer.as_slice()[..size])
    }
}

/// A codec with its parameters.
#[pyclass(frozen, module = "oxisock._native")]
pub struct Framer {
    /// What the core makes of it.
    pub codec: Codec,
}

#[pymethods]
impl Framer {
    /// Frame one payload.
    #[pyo3(signature = (payload, /))]
    fn encode<'py>(&self, payload: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let buffer = Buffer::of(payload, "payload")?;
        let size = self.codec.framed(buffer.as_slice().len()).map_err(wrap_error)?;
        bytes_with(payload.py(), size, |room| self.codec.write(buffer.as_slice(), room).map_err(wrap_error))
    }

    /// Frame payloads one after the other.
    #[pyo3(signature = (payloads, /))]
    fn encode_many<'py>(&self, payloads: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        if let Ok(list) = payloads.cast_exact::<PyList>()
            && let Some(parts) = bytes_in_list(list)?
        {
            return self.joined(payloads.py(), &parts);
        }
        let mut kept = Vec::new();
        let taken = payloads.try_iter().map_err(|_| no_iterable(payloads, "payloads"))?.try_for_each(|payload| {
            let payload = payload?;
            let buffer = Buffer::of(&payload, "payload")?;
            push(&mut kept, bytes_of(payload.py(), buffer.as_slice())?).map_err(|NoMemory| no_memory())
        });
        let parts: Vec<_> = kept.iter().map(PyBytesMethods::as_bytes).collect();
        let wire = self.joined(payloads.py(), &parts)?;
        // Of several that are wrong the first is told, so this comes after what was taken before.
        taken.map(|()| wire)
    }

    /// Begin a stream.
    #[pyo3(signature = (skip, /))]
    fn decoder(&self, skip: bool) -> Decoder {
        Decoder { inner: core::Decoder::new(Arc::clone(&self.codec), skip), scratch: None }
    }
}

impl Framer {
    /// Frame each: the sizes first, so that it is copied once, to where it stays.
    #[inline]
    fn joined<'py>(&self, py: Python<'py>, parts: &[&[u8]]) -> PyResult<Bound<'py, PyBytes>> {
        let mut size = 0usize;
        let mut wrong = None;
        let mut good = parts;
        for (place, part) in parts.iter().enumerate() {
            match self.codec.framed(part.len()) {
                Ok(framed) => size = size.checked_add(framed).ok_or_else(no_memory)?,
                Err(error) => {
                    (good, wrong) = (&parts[..place], Some(error));
                    break;
                }
            }
        }
        let wire = bytes_with(py, size, |room| {
            good.iter().try_for_each(|part| self.codec.write(part, room)).map_err(wrap_error)
        })?;
        wrong.map_or(Ok(wire), |error| Err(wrap_error(error)))
    }

    fn of(machine: impl core::Machine + 'static) -> Self {
        Self { codec: Arc::new(machine) }
    }
}

/// A binary length field.
#[pyfunction]
#[pyo3(signature = (width, little, offset, adjustment, strip, max_frame, /))]
pub fn length_framer(
    width: usize,
    little: bool,
    offset: usize,
    adjustment: i64,
    strip: usize,
    max_frame: u64,
) -> Framer {
    Framer::of(Counted(LengthPrefix::new(width, little, offset, adjustment, strip, max_frame)))
}

/// multiprocessing's header.
#[pyfunction]
#[pyo3(signature = (max_frame, /))]
pub fn escaped_framer(max_frame: u64) -> Framer {
    Framer::of(Counted(Escaped { limit: max_frame }))
}

/// A LEB128 length.
#[pyfunction]
#[pyo3(signature = (max_frame, /))]
pub fn varint_framer(max_frame: u64) -> Framer {
    Framer::of(Counted(Varint { limit: max_frame }))
}

/// A length in decimal digits.
#[pyfunction]
#[pyo3(signature = (separator, trailer, max_frame, /))]
pub fn decimal_framer(separator: u8, trailer: Option<u8>, max_frame: u64) -> Framer {
    Framer::of(Counted(Decimal::new(separator, trailer, max_frame)))
}

/// Frames of one size.
#[pyfunction]
#[pyo3(signature = (size, /))]
pub fn fixed_framer(size: usize) -> Framer {
    Framer::of(Counted(Fixed { size }))
}

/// Frames that end at a delimiter.
#[pyfunction]
#[pyo3(signature = (delimiters, keep, eof_frame, max_frame, /))]
pub fn delimiter_framer(delimiters: Vec<Vec<u8>>, keep: bool, eof_frame: bool, max_frame: u64) -> PyResult<Framer> {
    if delimiters.is_empty() || delimiters.iter().any(Vec::is_empty) {
        return Err(PyValueError::new_err("a delimiter is needed, and no empty one"));
    }
    Ok(Framer::of(Delimited::new(delimiters, keep, eof_frame, max_frame)))
}

/// Lines.
#[pyfunction]
#[pyo3(signature = (keep, eof_frame, max_frame, /))]
pub fn lines_framer(keep: bool, eof_frame: bool, max_frame: u64) -> Framer {
    Framer::of(Delimited::lines(keep, eof_frame, max_frame))
}
