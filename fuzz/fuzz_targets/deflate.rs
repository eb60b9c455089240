#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sociable_fuzz_checks::deflate(input));
