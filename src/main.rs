//! The `jwe-gateway` process.

fn main() {}
