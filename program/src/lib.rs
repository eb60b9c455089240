//! What the programs of Sociable share. The libraries use nothing of it.
//!
//! * [`probe`]: asking a process whether it is well, for the health checks of containers.

pub mod probe;
