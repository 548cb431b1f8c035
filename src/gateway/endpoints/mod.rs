//! What the gateway answers itself: tokens of its own, and the JWK Set of an egress.

pub mod jwks;
pub mod token;
