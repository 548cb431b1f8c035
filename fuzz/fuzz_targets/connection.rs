#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jwe_gateway::fuzzing::connection(data));
