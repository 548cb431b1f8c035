//! `Keys` against providers on loopback, with a clock that the test controls.

mod disk;
mod hostile;
mod refresh;
mod refusal;
