//! A load generator for Socket.IO servers on this machine, and the instrument that measures them.
//!
//! One run is a [`Plan`]: a scenario, the servers' addresses, the processes to watch. [`run`] returns a [`Report`]. The program prints the report as
//! one line of JSON.
//!
//! The generator reaches `127.0.0.0/8` and nothing else. The number of clients, their messages and the time of a run are bounded by [`limits`].
//!
//! Layout, in reading order:
//! - `plan`: one run, and its checks
//! - `limits`: the bounds of a run
//! - `scenario`: one file for each kind of load
//! - `net`: the event loop of all clients, on one thread
//! - `frame`, `http`: the client's side of WebSocket and HTTP/1.1
//! - `sequence`: the messages that a client got, once and in order
//! - `backoff`, `random`: the waits of a client that comes back
//! - `operator`: the one who replaces a server
//! - `process`: CPU time and memory of the servers, from `/proc`
//! - `histogram`, `report`: latencies, and the figures of a run

mod backoff;
mod frame;
mod histogram;
mod http;
pub mod limits;
mod net;
mod operator;
mod plan;
mod process;
mod random;
mod report;
mod scenario;
mod sequence;

use thiserror::Error;

pub use crate::net::{Address, AddressError};
pub use crate::operator::{Ending, Operator};
pub use crate::plan::{Cuts, Echo, Load, Plan, PlanError, Publishing};
pub use crate::process::Target;
pub use crate::report::{Latency, ProcessReport, Report, Returns, Spread, Unit};

/// The reason why a run has no report.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The plan breaks a bound.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The operating system refused a socket.
    #[error("cannot open a socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The server closed a connection before the load began.
    #[error("a client was disconnected before the load began: {0}")]
    Disconnected(String),
    /// A server was not replaced.
    #[error("the server was not replaced: {0}")]
    NotReplaced(String),
    /// Some clients did not come as far as the load needs.
    #[error("only {done} of {wanted} clients {what} within {seconds} s")]
    Incomplete {
        /// The clients that did.
        done: usize,
        /// All clients.
        wanted: usize,
        /// The step that they have not taken: `connected` or `joined`.
        what: &'static str,
        /// The time that they had.
        seconds: u64,
    },
}

/// Runs the plan and returns its figures.
///
/// The call blocks until the run has ended: at most [`limits::RUN`].
///
/// # Errors
///
/// If the plan breaks a bound, or the clients cannot connect. A server that loses messages is no error: [`Report::lost`] counts them.
pub fn run(plan: &Plan) -> Result<Report, RunError> {
    run_with(plan, &mut operator::Nobody)
}

/// Runs the plan with an operator for [`Load::Avalanche`], and returns its figures.
///
/// # Errors
///
/// As [`run`], and if the operator does not replace the server.
pub fn run_with(plan: &Plan, operator: &mut dyn Operator) -> Result<Report, RunError> {
    plan.check()?;
    scenario::run(plan, operator)
}
