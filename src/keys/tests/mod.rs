//! The room as its users see it, against providers on loopback and a clock turned by hand.

mod disk;
mod hostile;
mod refresh;
mod refusal;
