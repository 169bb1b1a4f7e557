//! Bytes across the border: any C-contiguous buffer in, without a copy; bytes and lists of them out.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::{ptr, slice};

use pyo3::exceptions::{PyBufferError, PyMemoryError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::arguments::no_bytes;
use crate::core::memory::{NoMemory, Room, with_capacity};

/// The bytes of a Python object, borrowed while this lives.
pub enum Buffer<'a, 'py> {
    /// A bytes object: immutable, so that no buffer need be asked for.
    Bytes(&'a [u8]),
    /// Any other, exported through the buffer protocol.
    Exported(Exported<'py>),
}

/// An exported buffer, given back when dropped.
pub struct Exported<'py> {
    view: Box<ffi::Py_buffer>,
    // Giving it back takes the interpreter.
    attached: PhantomData<Python<'py>>,
}

impl<'a, 'py> Buffer<'a, 'py> {
    /// Borrow the bytes of the argument `name`; `BufferError` where they are not contiguous, `TypeError` for no bytes.
    #[inline]
    pub fn of(object: &'a Bound<'py, PyAny>, name: &str) -> PyResult<Self> {
        // To compare types is cheaper than to ask the interpreter, and nearly all that comes is bytes itself.
        if let Ok(bytes) = object.cast_exact::<PyBytes>() {
            return Ok(Self::Bytes(bytes.as_bytes()));
        }
        match object.cast::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes.as_bytes())),
            Err(_) => Self::exported(object, name),
        }
    }

    fn exported(object: &Bound<'py, PyAny>, name: &str) -> PyResult<Self> {
        let py = object.py();
        let mut view = Box::new(MaybeUninit::<ffi::Py_buffer>::uninit());
        // SAFETY: the object is alive, `view` is room for a Py_buffer, and the interpreter is attached.
        let done = unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), ffi::PyBUF_SIMPLE) };
        if done != 0 {
            let error = PyErr::fetch(py);
            if error.is_instance_of::<PyBufferError>(py) {
                return Err(PyBufferError::new_err("a C-contiguous buffer is required"));
            }
            return Err(if error.is_instance_of::<PyTypeError>(py) { no_bytes(object, name) } else { error });
        }
        // SAFETY: PyObject_GetBuffer succeeded and so filled it in.
        let view = unsafe { view.assume_init() };
        Ok(Self::Exported(Exported { view, attached: PhantomData }))
    }

    /// The bytes themselves.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Exported(exported) if exported.view.len == 0 => &[],
            // SAFETY: a PyBUF_SIMPLE view is `len` contiguous bytes at `buf` until it is released; writing to them
            // meanwhile is the caller's data race with or without us.
            Self::Exported(exported) => unsafe {
                slice::from_raw_parts(exported.view.buf.cast::<u8>(), exported.view.len as usize)
            },
        }
    }
}

impl Drop for Exported<'_> {
    fn drop(&mut self) {
        // SAFETY: the view was filled in by PyObject_GetBuffer and is released once, attached.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.view) }
    }
}

/// A bytes object; `MemoryError` where there is no room for it.
#[inline]
pub fn bytes_of<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let size = isize::try_from(bytes.len()).map_err(|_| PyMemoryError::new_err(()))?;
    // SAFETY: `size` bytes are there to be read; the result is a new reference to a bytes object, or null with an
    // exception set.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), size);
        Ok(Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked())
    }
}

/// The bytes of a list's items; None where not all of them are bytes objects and nothing else.
///
/// They are valid until Python code may run again, which is all that could change the list.
#[inline]
pub fn bytes_in_list<'a>(list: &'a Bound<'_, PyList>) -> PyResult<Option<Vec<&'a [u8]>>> {
    let size = list.len();
    let mut parts = with_capacity(size).map_err(|NoMemory| PyMemoryError::new_err(()))?;
    for place in 0..size {
        // SAFETY: `place` is below the list's size. The list holds the item, whose type says that the other calls are
        // right for it, and bytes do not change or move.
        unsafe {
            let item = ffi::PyList_GetItem(list.as_ptr(), place as isize);
            if ffi::PyBytes_CheckExact(item) == 0 {
                return Ok(None);
            }
            parts.push(slice::from_raw_parts(ffi::PyBytes_AsString(item).cast(), ffi::PyBytes_Size(item) as usize));
        }
    }
    Ok(Some(parts))
}

/// A bytes object of `size`, which `fill` writes into; `MemoryError` where there is no room for it.
#[inline]
pub fn bytes_with(
    py: Python<'_>,
    size: usize,
    fill: impl FnOnce(&mut Room<'_>) -> PyResult<()>,
) -> PyResult<Bound<'_, PyBytes>> {
    let length = isize::try_from(size).map_err(|_| PyMemoryError::new_err(()))?;
    // SAFETY: without bytes to copy, the result is a new reference to a bytes object of that size with nothing written
    // yet, or null with an exception set.
    let object = unsafe {
        let object = ffi::PyBytes_FromStringAndSize(ptr::null(), length);
        Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked::<PyBytes>()
    };
    // SAFETY: `size` bytes are there, nobody else has seen the object, and it outlives the slice.
    let place = unsafe { slice::from_raw_parts_mut(ffi::PyBytes_AsString(object.as_ptr()).cast(), size) };
    let mut room = Room::new(place);
    fill(&mut room)?;
    // None are, but nobody is to see bytes that were never written.
    room.zeros(room.left());
    Ok(object)
}

/// A list of `size` bytes objects, made at its final size: growing it costs a fifth of the time at small frames.
#[inline]
pub fn list_of<'py, 'a>(
    py: Python<'py>,
    size: usize,
    items: impl Iterator<Item = &'a [u8]>,
) -> PyResult<Bound<'py, PyList>> {
    let room = isize::try_from(size).map_err(|_| PyMemoryError::new_err(()))?;
    // SAFETY: the result is a new reference to a list, or null with an exception set.
    let list = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyList_New(room))? };
    let mut filled = 0;
    for (place, item) in items.take(size).enumerate() {
        let item = bytes_of(py, item)?;
        // SAFETY: `place` is below the list's size, nobody else has seen the list, and the reference is handed over.
        unsafe { ffi::PyList_SetItem(list.as_ptr(), place as isize, item.into_ptr()) };
        filled = place + 1;
    }
    debug_assert_eq!(filled, size);
    // SAFETY: PyList_New made it.
    Ok(unsafe { list.cast_into_unchecked() })
}
