//! The machines of the TCP servers, for Python: a connection's life, a PROXY header, what each address has.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::core::os::addresses;
use crate::core::serving::connection::{self as machine, Closed, Faults, Limits};
use crate::core::serving::{proxies, shares};

/// Reads one PROXY header, however it was cut.
#[pyclass(module = "oxisock._native")]
pub struct ProxyHeader {
    header: proxies::ProxyHeader,
}

#[pymethods]
impl ProxyHeader {
    #[new]
    fn new() -> Self {
        Self { header: proxies::ProxyHeader::default() }
    }

    #[getter]
    fn source(&self) -> Option<(String, u16)> {
        self.header.source().map(|source| (addresses::host(source), source.port()))
    }

    fn feed(&mut self, data: &[u8]) -> PyResult<i64> {
        let end = self.header.feed(data).map_err(PyValueError::new_err)?;
        Ok(end.map_or(-1, |end| end as i64))
    }
}

/// How many connections each address has.
#[pyclass(module = "oxisock._native")]
pub struct Shares {
    shares: shares::Shares,
}

#[pymethods]
impl Shares {
    #[new]
    fn new(most: u64) -> Self {
        Self { shares: shares::Shares::new(most) }
    }

    fn take(&mut self, network: u128) -> bool {
        self.shares.take(network)
    }

    fn give_back(&mut self, network: u128) {
        self.shares.give_back(network);
    }

    fn __len__(&self) -> usize {
        self.shares.len()
    }
}

/// The life of one TCP connection as a machine: events and time in, what to do next out.
#[pyclass(module = "oxisock._native")]
pub struct Connection {
    machine: machine::Connection,
}

#[pymethods]
impl Connection {
    #[new]
    #[pyo3(signature = (now, idle_timeout, write_timeout, max_buffered, cut=0, delay=0, reset_after=machine::NEVER, drop=0, seed=0))]
    #[expect(clippy::too_many_arguments, reason = "as the twin in Python has it")]
    fn new(
        now: u64,
        idle_timeout: u64,
        write_timeout: u64,
        max_buffered: usize,
        cut: usize,
        delay: u64,
        reset_after: u64,
        drop: u64,
        seed: u64,
    ) -> Self {
        let limits = Limits { idle_timeout, write_timeout, max_buffered };
        let faults = Faults { cut, delay, reset_after, drop, seed };
        Self { machine: machine::Connection::new(now, limits, faults) }
    }

    #[pyo3(signature = (due, now, late=7))]
    fn require_by(&mut self, due: u64, now: u64, late: u8) -> PyResult<()> {
        let late = match late {
            2 => Closed::Idle,
            7 => Closed::Broken,
            _ => return Err(PyValueError::new_err("what does not come in time is IDLE or BROKEN")),
        };
        self.machine.require_by(due, late, now);
        Ok(())
    }

    fn owe_farewell(&mut self, now: u64) {
        self.machine.owe_farewell(now);
    }

    fn parts(&mut self) -> bool {
        self.machine.parts()
    }

    fn begin(&mut self, now: u64) {
        self.machine.begin(now);
    }

    fn active(&mut self, now: u64) {
        self.machine.active(now);
    }

    fn deliver(&mut self, now: u64) {
        self.machine.deliver(now);
    }

    fn answered(&mut self, messages: u64, now: u64) {
        self.machine.answered(messages, now);
    }

    fn queue(&mut self, size: usize, now: u64) {
        self.machine.queue(size, now);
    }

    fn wrote(&mut self, size: usize, now: u64) -> PyResult<()> {
        if size > self.machine.queued() {
            return Err(PyValueError::new_err("more was written than waited"));
        }
        self.machine.wrote(size, now);
        Ok(())
    }

    fn ended(&mut self, now: u64) {
        self.machine.ended(now);
    }

    fn finish(&mut self, now: u64) {
        self.machine.finish(now);
    }

    fn abort(&mut self, reason: u8, now: u64) -> PyResult<()> {
        let reason = match reason {
            4 => Closed::Lost,
            5 => Closed::Cut,
            7 => Closed::Broken,
            8 => Closed::Refused,
            _ => return Err(PyValueError::new_err("only LOST, CUT, BROKEN and REFUSED abort")),
        };
        self.machine.abort(reason, now);
        Ok(())
    }

    fn tick(&mut self, now: u64) {
        self.machine.tick(now);
    }

    fn swallow(&mut self) -> bool {
        self.machine.swallow()
    }

    fn room(&self) -> usize {
        self.machine.room()
    }

    fn allowance(&self) -> usize {
        self.machine.allowance()
    }

    fn deadline(&self) -> u64 {
        self.machine.deadline()
    }

    #[getter]
    fn closed(&self) -> u8 {
        self.machine.closed() as u8
    }

    #[getter]
    fn queued(&self) -> usize {
        self.machine.queued()
    }

    #[getter]
    fn written(&self) -> u64 {
        self.machine.written()
    }

    #[getter]
    fn owed(&self) -> bool {
        self.machine.owed()
    }

    #[getter]
    fn expecting(&self) -> bool {
        self.machine.expecting()
    }

    #[getter]
    fn eof(&self) -> bool {
        self.machine.eof()
    }

    #[getter]
    fn paused(&self) -> bool {
        self.machine.paused()
    }
}
