#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| oxisock_fuzz::connection::run(data));
