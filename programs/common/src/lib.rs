//! The part that the programs of Sociable share. The libraries use nothing of it.
//!
//! This crate is internal to Sociable: its interface changes with the programs.
//!
//! * [`settings`]: flags, environment and file become one set of settings.
//! * [`nats`]: the flags with the credentials of a NATS client.
//! * [`log`]: the log and its filter. [`panics`]: panics as lines of the log.
//! * [`signals`]: the signals that stop a program or change its log.
//! * [`probe`]: the health probe of a container.

pub mod log;
pub mod nats;
pub mod panics;
pub mod probe;
pub mod settings;
pub mod signals;
