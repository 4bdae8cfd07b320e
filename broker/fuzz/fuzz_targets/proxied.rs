#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tanglegate_broker::fuzzing::proxied(bytes));
