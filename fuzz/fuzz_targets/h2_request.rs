#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| serin_fuzz::checks::h2_request(input));
