//! oxisock's native engine: a core that knows no Python, and the bindings above it.

pub mod core;
#[cfg(feature = "python")]
mod py;

/// The extension module: a table of contents.
#[cfg(feature = "python")]
#[pyo3::pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        crate::py::interpreters::refuse_others(module.py())
    }

    // scanning
    #[pymodule_export]
    use crate::py::scanning::{ScanEngine, ScanRun, asked_ports, start_scan};

    // framing
    #[pymodule_export]
    use crate::py::framing::{
        Decoder, Framer, decimal_framer, delimiter_framer, escaped_framer, fixed_framer, length_framer, lines_framer,
        varint_framer,
    };

    // serving
    #[pymodule_export]
    use crate::py::serving::{
        Connection, EchoReactors, MessageReactor, ProxyHeader, Reactors, Shares, message_reactor, start_echo,
    };

    // udp
    #[pymodule_export]
    use crate::py::udp::{UdpEchoReactor, UdpReactor, start_udp_echo, udp_reactor};

    // chat
    #[pymodule_export]
    use crate::py::chat::{ChatReactor, Hub, Porter, start_chat};

    // load
    #[pymodule_export]
    use crate::py::load::{LoadRun, load_chat, load_tcp, start_tcp_load, start_udp_load, udp_load};

    // what benchmarks compare with
    #[pymodule_export]
    use crate::py::ceilings::{raw_chat_loop, raw_connect_loop, raw_datagram_loop, raw_echo_loop};
}
