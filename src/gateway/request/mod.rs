//! From the caller's request to what may be forwarded.

pub mod admit;
pub mod body;
pub mod content;
pub mod content_type;
pub mod headers;
pub mod payload;
pub mod request_id;
pub mod target;
