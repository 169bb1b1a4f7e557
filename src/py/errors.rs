//! The one conversion from the core's error to a Python exception, keeping errno.

use pyo3::PyErr;
use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyValueError};

use crate::core::errors::Error;

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            // OSError(errno, text) lets CPython pick ConnectionRefusedError and its siblings.
            Error::Io(error) => match error.raw_os_error() {
                Some(code) => os_error(code, error_text(&error)),
                None => PyOSError::new_err(error.to_string()),
            },
            Error::Memory => PyMemoryError::new_err(()),
            Error::Value(text) => PyValueError::new_err(text),
            Error::State(_) | Error::Panic(_) => PyRuntimeError::new_err(error.to_string()),
        }
    }
}

#[cfg(not(windows))]
fn os_error(code: i32, text: String) -> PyErr {
    PyOSError::new_err((code, text))
}

/// Python finds the errno that belongs to a code of Windows.
#[cfg(windows)]
fn os_error(code: i32, text: String) -> PyErr {
    PyOSError::new_err((0, text, None::<()>, code))
}

/// The system's words without the "(os error N)" that Rust appends: they are Python's `strerror`.
fn error_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
