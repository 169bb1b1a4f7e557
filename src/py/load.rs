//! The load generator for Python: turned in slices, so that somebody can watch it and Ctrl-C ends it.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict};

use super::framing::Framer;
use super::signals::heeding_signals;
use crate::core::errors::{Error, Result};
use crate::core::latch::{caught, lock};
use crate::core::load::chat::ChatLoad;
use crate::core::load::latency::Summary;
use crate::core::load::tcp::{self, TcpLoad};
use crate::core::load::udp::{self, UdpLoad};
use crate::core::load::{Answer, Datagrams, Driver, Fault, Latency, Progress, Replies, Script, Tally, Terms, Until};
use crate::core::os::errors::ECONNRESET;

/// How long a load goes on before it looks for signals.
const SLICE: Duration = Duration::from_millis(50);
/// How long a benchmark waits for a server that says nothing any more.
const STALL: Duration = Duration::from_secs(10);
/// A benchmark is over when nothing came for so many times its patience.
const SILENCES: u32 = 10;

/// Python's `LoadPlan`.
#[derive(FromPyObject)]
pub struct LoadPlan {
    connections: usize,
    depth: u64,
    rate: Option<u64>,
    duration: u64,
    timeout: u64,
}

impl LoadPlan {
    fn terms(&self) -> Terms {
        let until = Until::Time(self.duration);
        Terms { depth: self.depth, rate: self.rate, until, timeout: Duration::from_nanos(self.timeout) }
    }
}

type Load = Box<dyn Driver + Send>;

/// Go on to the end; `over` may find one sooner.
fn run(py: Python<'_>, load: &mut Load, mut over: impl FnMut(&Tally) -> bool) -> PyResult<()> {
    while py.detach(|| step(load, SLICE))? {
        py.check_signals()?;
        if over(&load.course().tally) {
            break;
        }
    }
    Ok(())
}

fn step(load: &mut Load, slice: Duration) -> Result<bool> {
    caught(|| load.step(slice))
}

/// A load that Python turns.
#[pyclass(frozen, module = "oxisock._native")]
pub struct LoadRun {
    load: Mutex<Option<Load>>,
}

#[pymethods]
impl LoadRun {
    /// Go on for about so many seconds, or until a signal comes; false is the end.
    fn step(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        let slice = Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let on = py.detach(|| {
            let mut load = lock(&self.load);
            load.as_mut().map_or(Ok(false), |load| step(load, slice))
        })?;
        py.check_signals()?;
        Ok(on)
    }

    /// Give the figures so far.
    fn figures<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        // Another thread may be in `step`.
        let load = self.load.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        match &*load {
            Some(load) => figures(py, &load.course().tally, load.progress()),
            None => Err(Error::State("the load is closed".to_owned()).into()),
        }
    }

    /// Give the histogram of the latencies: seconds up to which each of its spans goes, and how many lie in it.
    fn histogram(&self, py: Python<'_>, spans: u32) -> PyResult<Vec<(f64, u64)>> {
        let load = self.load.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        match &*load {
            Some(load) => {
                let spans = load.course().tally.latency.spans(spans.min(1000));
                Ok(spans.into_iter().map(|(end, count)| (Duration::from_nanos(end).as_secs_f64(), count)).collect())
            }
            None => Err(Error::State("the load is closed".to_owned()).into()),
        }
    }

    /// Close every connection.
    fn close(&self, py: Python<'_>) {
        py.detach(|| lock(&self.load).take());
    }
}

fn figures<'py>(py: Python<'py>, tally: &Tally, progress: Progress) -> PyResult<Bound<'py, PyDict>> {
    let figures = PyDict::new(py);
    figures.set_item("begun", progress.begun)?;
    figures.set_item("opened", progress.opened)?;
    figures.set_item("alive", progress.alive)?;
    figures.set_item("sent", tally.sent)?;
    figures.set_item("answered", tally.answered)?;
    figures.set_item("lost", tally.lost)?;
    figures.set_item("wrong", tally.wrong)?;
    figures.set_item("late", tally.late)?;
    figures.set_item("duplicates", tally.duplicates)?;
    figures.set_item("pending", progress.pending)?;
    figures.set_item("unsent", progress.unsent)?;
    figures.set_item("bytes_sent", tally.bytes_sent)?;
    figures.set_item("bytes_received", tally.bytes_received)?;
    figures.set_item("sending", progress.sending.as_secs_f64())?;
    figures.set_item("elapsed", progress.elapsed.as_secs_f64())?;
    let errors = PyDict::new(py);
    for (fault, count) in &tally.faults {
        match fault {
            Fault::Os(code) => errors.set_item(code, count)?,
            Fault::Closed => errors.set_item("EOF", count)?,
            Fault::Unasked => errors.set_item("UNASKED", count)?,
            Fault::Corrupt => errors.set_item("BADFRAME", count)?,
        }
    }
    figures.set_item("errors", errors)?;
    let local = PyDict::new(py);
    for (code, count) in &tally.local {
        local.set_item(code, count)?;
    }
    figures.set_item("local_errors", local)?;
    let first_wrong = tally.first_wrong.as_ref().map(|wrong| {
        let expected = wrong.expected.as_ref().map(|bytes| PyBytes::new(py, bytes));
        (PyBytes::new(py, &wrong.came), expected)
    });
    figures.set_item("first_wrong", first_wrong)?;
    figures.set_item("latency", times(py, &tally.latency)?)?;
    figures.set_item("lag", times(py, &tally.lag)?)?;
    Ok(figures)
}

/// A histogram as seconds by name; None where it is empty.
fn times<'py>(py: Python<'py>, latency: &Latency) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(Summary { min, mean, percentiles, max, .. }) = latency.summary() else { return Ok(None) };
    let times = PyDict::new(py);
    let names = ["p50", "p75", "p90", "p95", "p99", "p99.9"];
    let middle = names.into_iter().zip(percentiles);
    for (name, time) in [("min", min), ("mean", mean)].into_iter().chain(middle).chain([("max", max)]) {
        times.set_item(name, time.as_secs_f64())?;
    }
    Ok(Some(times))
}

fn parse(address: &str) -> PyResult<SocketAddr> {
    address.parse().map_err(|_| PyValueError::new_err(format!("{address:?}: expected ADDRESS:PORT")))
}

fn check(connections: usize, depth: u64) -> PyResult<()> {
    if connections == 0 || depth == 0 {
        return Err(PyValueError::new_err("connections and depth must be at least 1"));
    }
    Ok(())
}

/// Prepare a load on a TCP server: `requests` as they stand in the stream, and the right replies.
///
/// With a framer, replies are the payloads of frames, and None is one frame whatever it holds; without, they are bytes.
#[pyfunction]
pub fn start_tcp_load(
    address: &str,
    plan: LoadPlan,
    requests: Vec<Vec<u8>>,
    replies: Option<Vec<Vec<u8>>>,
    framer: Option<Bound<'_, Framer>>,
) -> PyResult<LoadRun> {
    let address = parse(address)?;
    check(plan.connections, plan.depth)?;
    let codec = framer.map(|framer| framer.get().codec.clone());
    let replies = match (codec, replies) {
        (Some(codec), Some(payloads)) => Replies::Frames(codec, payloads),
        (Some(codec), None) => Replies::AnyFrames(codec),
        (None, Some(bytes)) => Replies::Stream(bytes),
        (None, None) => return Err(PyValueError::new_err("without a framer, replies must be given")),
    };
    let load = TcpLoad::new(tcp::Plan {
        address,
        connections: plan.connections,
        script: Script::new(&requests, replies)?,
        terms: plan.terms(),
    })?;
    Ok(LoadRun { load: Mutex::new(Some(Box::new(load))) })
}

/// Prepare a load on a UDP server: datagrams of `size` bytes, whose answers are `prefix` and the same, or capitals.
#[pyfunction]
pub fn start_udp_load(
    address: &str,
    plan: LoadPlan,
    size: usize,
    text: &[u8],
    prefix: &[u8],
    upper: bool,
) -> PyResult<LoadRun> {
    let target = parse(address)?;
    check(plan.connections, plan.depth)?;
    let answer = if upper { Answer::Upper } else { Answer::Echo };
    let load = UdpLoad::new(udp::Plan {
        target,
        sockets: plan.connections,
        datagrams: Datagrams::new(size, text, prefix.to_vec(), answer)?,
        terms: plan.terms(),
    })?;
    Ok(LoadRun { load: Mutex::new(Some(Box::new(load))) })
}

/// Ask a TCP server over `connections`, `depth` messages in flight on each, and check every answer.
///
/// Gives the messages answered (at least `messages`), the seconds it took, and the mean seconds from a message to its
/// answer. Whatever goes wrong is an exception.
#[pyfunction]
pub fn load_tcp(
    py: Python<'_>,
    address: &str,
    connections: usize,
    depth: u64,
    request: Vec<u8>,
    reply: Vec<u8>,
    messages: u64,
) -> PyResult<(u64, f64, f64)> {
    let address = parse(address)?;
    check(connections, depth)?;
    let script = Script::new(&[request], Replies::Stream(vec![reply]))?;
    let terms = Terms { depth, rate: None, until: Until::Messages(messages), timeout: STALL };
    let plan = tcp::Plan { address, connections, script, terms };
    let mut load: Load = Box::new(TcpLoad::new(plan)?);
    let failed = |tally: &Tally| tally.wrong > 0 || !tally.faults.is_empty() || !tally.local.is_empty();
    run(py, &mut load, failed)?;
    let tally = &load.course().tally;
    if tally.wrong > 0 {
        return Err(PyValueError::new_err("a wrong answer came"));
    }
    let code = |fault: &Fault| if let Fault::Os(code) = fault { *code } else { ECONNRESET };
    if let Some(code) = tally.faults.keys().map(code).chain(tally.local.keys().copied()).next() {
        return Err(Error::Io(std::io::Error::from_raw_os_error(code)).into());
    }
    let mean = tally.latency.summary().unwrap_or_default().mean;
    Ok((tally.answered, load.progress().elapsed.as_secs_f64(), mean.as_secs_f64()))
}

/// Sends `amount` datagrams, `window` at a time, and checks their answers: (sent, answered, wrong, seconds).
/// What is not answered within `patience` seconds counts as lost.
#[pyfunction]
pub fn udp_load(
    py: Python<'_>,
    target: (String, u16),
    amount: u64,
    window: u64,
    size: usize,
    patience: f64,
    prefix: &[u8],
) -> PyResult<(u64, u64, u64, f64)> {
    let (host, port) = target;
    let host = host.parse().map_err(|_| PyValueError::new_err("target must be an IPv4 or IPv6 literal"))?;
    if amount == 0 || window == 0 {
        return Err(PyValueError::new_err("amount and window must be positive"));
    }
    let timeout = Duration::try_from_secs_f64(patience).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let text: Vec<u8> = (0..=u8::MAX).collect();
    let plan = udp::Plan {
        target: SocketAddr::new(host, port),
        sockets: 1,
        datagrams: Datagrams::new(size, &text, prefix.to_vec(), Answer::Echo)?,
        terms: Terms { depth: window, rate: None, until: Until::Messages(amount), timeout },
    };
    let mut load: Load = Box::new(UdpLoad::new(plan)?);
    let (mut heard, mut received) = (Instant::now(), 0);
    run(py, &mut load, |tally| {
        if tally.bytes_received > received {
            (heard, received) = (Instant::now(), tally.bytes_received);
        }
        heard.elapsed() >= timeout.saturating_mul(SILENCES)
    })?;
    let tally = &load.course().tally;
    let wrong = tally.wrong + tally.late + tally.duplicates;
    Ok((tally.sent, tally.answered, wrong, load.progress().elapsed.as_secs_f64()))
}

/// Let one talk and the others listen, with `depth` lines in flight, and check every delivery.
///
/// Gives the deliveries, the seconds they took, and the median and 99th percentile of their latency in seconds.
#[pyfunction]
pub fn load_chat(
    py: Python<'_>,
    address: &str,
    listeners: usize,
    depth: u64,
    lines: u64,
) -> PyResult<(u64, f64, f64, f64)> {
    let address = parse(address)?;
    if listeners == 0 || depth == 0 || lines == 0 {
        return Err(PyValueError::new_err("nothing to say, or nobody to hear it"));
    }
    let load = ChatLoad { address, listeners, depth, lines };
    let report = heeding_signals(py, |keep_going| load.run(keep_going))?;
    Ok((report.deliveries, report.elapsed.as_secs_f64(), report.median.as_secs_f64(), report.p99.as_secs_f64()))
}
