//! Which of a process's interpreters the module serves: the main one alone.

use pyo3::exceptions::PyImportError;
use pyo3::{PyResult, Python, ffi};

/// Raises `ImportError` in a sub-interpreter.
///
/// What the module holds of Python is one for the process: its classes, and the exceptions and named tuples that it
/// looks up once. In another interpreter they would be strangers, which no `except` catches.
pub fn refuse_others(_: Python<'_>) -> PyResult<()> {
    // SAFETY: the thread is attached, which the token proves, so it has an interpreter; both calls only read.
    let number = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if number == 0 {
        return Ok(());
    }
    Err(PyImportError::new_err(format!(
        "oxisock's native engine serves the main interpreter alone, and this is sub-interpreter {number}: \
         its classes are shared by a whole process"
    )))
}
