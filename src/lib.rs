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

    #[pymodule_export]
    use crate::py::scan::{ScanEngine, ScanRun, start_scan};
    // framing
    #[pymodule_export]
    use crate::py::framing::{
        Decoder, Framer, decimal_framer, delimiter_framer, escaped_framer, fixed_framer, length_framer, lines_framer,
        varint_framer,
    };
    // chat
    #[pymodule_export]
    use crate::py::chat::{ChatRun, Hub, start_chat};
    #[pymodule_export]
    use crate::py::chat_load::load_chat;

    // what benchmarks compare with
    #[pymodule_export]
    use crate::py::raw_loop::{raw_chat_loop, raw_connect_loop, raw_datagram_loop, raw_echo_loop};

    // UDP
    #[pymodule_export]
    use crate::py::udp::{UdpEcho, UdpLoop, udp_echo, udp_loop};
    // load
    #[pymodule_export]
    use crate::py::load::{LoadRun, load_tcp, start_tcp_load, start_udp_load, udp_load};
    // TCP servers
    #[pymodule_export]
    use crate::py::reactor_run::ReactorRun;
    #[pymodule_export]
    use crate::py::servers::{Connection, EchoRun, MessageReactor, message_reactor, start_echo};
}
