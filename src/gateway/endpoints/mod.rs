//! The endpoints that the gateway answers itself: tokens for its callers, and the JWK Set of an egress.

pub(crate) mod jwks;
pub(crate) mod token;
