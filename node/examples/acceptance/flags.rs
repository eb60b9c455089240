//! The flags of the app.

use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};
use sociable::engine::EngineBuilder;
use sociable::{Cookie, Cors, ServerBuilder, Transport};

#[derive(Debug, Parser)]
pub struct Flags {
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    #[arg(long, default_value_t = 3000)]
    pub port: u16,
}
