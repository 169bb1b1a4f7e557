//! Arguments as Python checks them: what is plainly right is taken here, and all else is judged by `oxisock.arguments`.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyInt;

const HOME: &str = "oxisock.arguments";

/// The error for what holds no bytes.
pub fn no_bytes(object: &Bound<'_, PyAny>, name: &str) -> PyErr {
    judged(object, name, "bytes")
}

/// The error for what cannot be gone through.
pub fn no_iterable(object: &Bound<'_, PyAny>, name: &str) -> PyErr {
    judged(object, name, "an iterable of bytes")
}

fn judged(object: &Bound<'_, PyAny>, name: &str, expected: &str) -> PyErr {
    let kind = object.py().get_type::<PyTypeError>();
    let judge = || object.py().import(HOME)?.call_method1("refuse", (kind, name, object, expected));
    judge().err().unwrap_or_else(|| PyTypeError::new_err(format!("{name}: expected {expected}")))
}

/// A whole number from `lowest` to `highest`.
pub fn whole(object: &Bound<'_, PyAny>, name: &str, lowest: isize, highest: isize) -> PyResult<isize> {
    let plain = object.cast_exact::<PyInt>().ok().and_then(|number| number.extract::<isize>().ok());
    match plain.filter(|number| (lowest..=highest).contains(number)) {
        Some(number) => Ok(number),
        None => object.py().import(HOME)?.call_method1("count", (object, name, lowest, highest))?.extract(),
    }
}
