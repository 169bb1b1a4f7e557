#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| oxisock_fuzz::framing::run(data));
