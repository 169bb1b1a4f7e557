//! The scanner as Python sees it.

use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::signals::wait_in_slices;
use crate::core::errors::Error;
use crate::core::latch::lock;
use crate::core::scanning::driver::ScanRun as CoreRun;
use crate::core::scanning::engine::ScanEngine as CoreEngine;
use crate::core::scanning::{AddressRange, Answer, Link, Outcome, Plan, Tally, TraceEvent};

type OutcomeTuple<'py> = (u64, u16, u8, i32, i64, Option<Bound<'py, PyBytes>>);
type EventTuple = (i64, u64, u16, u32, i32);
/// Outcomes are turned into Python's so many at a time.
const AT_ONCE: usize = 1024;

impl<'a, 'py> FromPyObject<'a, 'py> for AddressRange {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let (version, first, last, scope_id): (u8, u128, u128, u32) = object.extract()?;
        Ok(Self { v4: version == 4, first, last, scope_id })
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Link {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let (first, last, capacity) = object.extract()?;
        Ok(Self { first, last, capacity })
    }
}

fn plan_of(plan: &Bound<'_, PyAny>) -> PyResult<Plan> {
    let ranges: Vec<AddressRange> = plan.getattr("ranges")?.extract()?;
    Ok(Plan {
        ranges,
        ports: plan.getattr("ports")?.extract()?,
        first_ports: plan.getattr("first_ports")?.extract()?,
        timeout: plan.getattr("timeout")?.extract()?,
        retries: plan.getattr("retries")?.extract()?,
        adaptive: plan.getattr("adaptive")?.extract()?,
        concurrency: plan.getattr("concurrency")?.extract()?,
        interval: plan.getattr("interval")?.extract()?,
        threads: plan.getattr("threads")?.extract()?,
        random: plan.getattr("random")?.extract()?,
        seed: plan.getattr("seed")?.extract()?,
        shard: plan.getattr("shard")?.extract()?,
        shards: plan.getattr("shards")?.extract()?,
        banner: plan.getattr("banner")?.extract()?,
        keep: plan.getattr("keep")?.extract()?,
        trace: plan.getattr("trace")?.extract()?,
        descriptors: plan.getattr("descriptors")?.extract()?,
        skip_silent: plan.getattr("skip_silent")?.extract()?,
        links: plan.getattr("links")?.extract()?,
        first_host: plan.getattr("first_host")?.extract()?,
        of_many: plan.getattr("of_many")?.extract()?,
        first_send: plan.getattr("first_send")?.extract()?,
    })
}

fn outcomes_of(py: Python<'_>, outcomes: Vec<Outcome>) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for (number, each) in outcomes.into_iter().enumerate() {
        if number % AT_ONCE == AT_ONCE - 1 {
            // Whoever waits for the interpreter gets it here: an event loop must not stand still for a large scan.
            py.detach(|| ());
        }
        let banner = each.banner.map(|banner| PyBytes::new(py, &banner));
        let outcome: OutcomeTuple<'_> = (each.host, each.port, each.state as u8, each.reason.code(), each.rtt, banner);
        list.append(outcome)?;
    }
    Ok(list)
}

fn events_of(events: Vec<TraceEvent>) -> Vec<EventTuple> {
    events.into_iter().map(|each| (each.time, each.host, each.port, each.repeat, each.what)).collect()
}

fn tally_of<'py>(py: Python<'py>, tally: &Tally) -> PyResult<Bound<'py, PyTuple>> {
    let [open, closed, filtered, error] = tally.states;
    let probes = [tally.probes, tally.retries, tally.drops, tally.local_errors];
    let hosts = [tally.hosts, tally.up, tally.unreachable, tally.silent, tally.unasked];
    PyTuple::new(py, [open, closed, filtered, error].into_iter().chain(probes).chain(hosts).collect::<Vec<_>>())
}

/// Begin to scan.
#[pyfunction]
pub fn start_scan(py: Python<'_>, plan: &Bound<'_, PyAny>) -> PyResult<ScanRun> {
    let plan = plan_of(plan)?;
    let run = py.detach(|| CoreRun::start(&plan))?;
    Ok(ScanRun { run })
}

/// Give which ports of each of the `hosts`, by number, fall to the plan's shard, in the order in which they are asked.
#[pyfunction]
pub fn asked_ports(py: Python<'_>, plan: &Bound<'_, PyAny>, hosts: Vec<u64>) -> PyResult<Vec<Vec<u16>>> {
    let plan = plan_of(plan)?;
    Ok(py.detach(|| hosts.into_iter().map(|host| plan.asked_ports(host)).collect()))
}

/// One scan under way.
#[pyclass(frozen, module = "oxisock._native")]
pub struct ScanRun {
    run: CoreRun,
}

#[pymethods]
impl ScanRun {
    /// Wait at most `timeout` seconds for kept outcomes and give those there are.
    fn wait<'py>(&self, py: Python<'py>, timeout: f64) -> PyResult<Bound<'py, PyList>> {
        let outcomes = wait_in_slices(py, timeout, |slice| self.run.wait(slice))?;
        outcomes_of(py, outcomes.unwrap_or_default())
    }

    /// Give the totals so far.
    fn tally<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        tally_of(py, &py.detach(|| self.run.tally()))
    }

    /// Say whether everything is decided (or cancelled) and every outcome given.
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(py.detach(|| self.run.done())?)
    }

    /// End the scan; on return every descriptor is back.
    fn cancel(&self, py: Python<'_>) {
        py.detach(|| self.run.cancel());
    }

    /// Give the events so far, in order of time.
    fn trace(&self, py: Python<'_>) -> Vec<EventTuple> {
        events_of(py.detach(|| self.run.trace()))
    }
}

/// The machine of one scan, to be compared with the pure one.
#[pyclass(frozen, module = "oxisock._native")]
pub struct ScanEngine {
    engine: Mutex<CoreEngine>,
}

impl ScanEngine {
    fn lock(&self) -> MutexGuard<'_, CoreEngine> {
        lock(&self.engine)
    }
}

#[pymethods]
impl ScanEngine {
    #[new]
    fn new(plan: &Bound<'_, PyAny>, hosts: u64) -> PyResult<Self> {
        Ok(Self { engine: Mutex::new(CoreEngine::new(plan_of(plan)?, hosts, 0)) })
    }

    #[getter]
    fn total(&self) -> u64 {
        self.lock().total()
    }

    #[getter]
    fn reserved(&self) -> usize {
        self.lock().reserved
    }

    #[setter]
    fn set_reserved(&self, count: usize) {
        self.lock().reserved = count;
    }

    #[getter]
    fn looked(&self) -> Option<i64> {
        self.lock().looked
    }

    #[setter]
    fn set_looked(&self, time: Option<i64>) {
        self.lock().looked = time;
    }

    fn next(&self, now: i64) -> Option<(u64, u64, u16, u32)> {
        self.lock().next(now).map(|order| (order.token, order.host, order.port, order.repeat))
    }

    fn answer(&self, token: u64, what: i32, now: i64) -> PyResult<()> {
        let answer = Answer::from_code(what).ok_or_else(|| Error::Value(format!("{what} is no answer")))?;
        self.lock().answer(token, answer, now);
        Ok(())
    }

    fn expire(&self, now: i64) -> Vec<u64> {
        let mut expired = Vec::new();
        self.lock().expire(now, &mut expired);
        expired
    }

    fn wakeup(&self, now: i64) -> Option<i64> {
        self.lock().wakeup(now)
    }

    fn finished(&self) -> bool {
        self.lock().finished()
    }

    fn take_outcomes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        // Not under the lock: making objects may run Python. So it is below.
        let outcomes = self.lock().take_outcomes();
        outcomes_of(py, outcomes)
    }

    fn take_events(&self) -> Vec<EventTuple> {
        events_of(self.lock().take_events())
    }

    fn take_doubtful(&self) -> Vec<u64> {
        self.lock().take_doubtful()
    }

    fn neighbour(&self, index: u64, there: Option<bool>, now: i64) {
        self.lock().neighbour(index, there, now);
    }

    fn tally<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let tally = self.lock().tally();
        tally_of(py, &tally)
    }
}
