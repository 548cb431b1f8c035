//! What the gateway answers itself: tokens of its own, and the JWK Set of an egress.

pub(crate) mod jwks;
pub(crate) mod token;
