//! An encrypting gateway proxy for APIs that accept JWE request bodies.

pub mod admin;
pub mod clock;
pub mod config;
pub mod gateway;
pub mod jose;
pub mod keys;
pub mod secret;
pub mod telemetry;
pub mod token;
pub mod upstream;
