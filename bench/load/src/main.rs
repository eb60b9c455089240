//! `sociable-load`: measures Socket.IO servers on this machine, and prints one line of JSON for a run.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use sociable_load::{Address, Echo, Load, Plan, Publishing, Target};

/// Measures a Socket.IO server on this machine, and prints one line of JSON.
///
/// The server answers the events `echo`, `join` and `broadcast`: see bench/README.md. Exit codes: 0 for a complete run, 2 if messages were lost,
/// doubled or wrong or clients were disconnected, 1 if the run failed.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Args)]
struct Common {
    /// Address of the server in 127.0.0.0/8, such as 127.0.0.1:3000; several for a cluster
    #[arg(long, required = true, value_delimiter = ',')]
    server: Vec<Address>,
    /// Process to watch, as PID or NAME=PID
    #[arg(long, value_delimiter = ',')]
    process: Vec<Target>,
    /// Number of clients
    #[arg(long, default_value_t = 100)]
    clients: usize,
    /// Measured time in seconds
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds of the same load before
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Handshakes at a time
    #[arg(long, default_value_t = 64)]
    handshakes: usize,
    /// Source addresses, from 127.0.0.1 on
    #[arg(long, default_value_t = 1)]
    sources: u8,
    /// Percentage of the WebSockets that offer permessage-deflate, without takeover
    #[arg(long, default_value_t = 0)]
    deflate: u8,
}

#[derive(Debug, Args)]
struct Messages {
    /// Messages of one client that wait for their answer
    #[arg(long, default_value_t = 1)]
    in_flight: usize,
    /// Bytes of a message
    #[arg(long, default_value_t = 64)]
    size: usize,
}

#[derive(Debug, Args)]
struct Broadcasts {
    /// Broadcasts a second; without it as fast as the window goes
    #[arg(long, conflicts_with = "window")]
    rate: Option<f64>,
    /// Broadcasts in flight
    #[arg(long, default_value_t = 4)]
    window: usize,
    /// Bytes of a broadcast
    #[arg(long, default_value_t = 64)]
    size: usize,
}

impl Broadcasts {
    fn publishing(&self) -> Publishing {
        self.rate.map_or(Publishing::Window(self.window), Publishing::Rate)
    }
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Clients that connect and rest
    Idle {
        #[command(flatten)]
        common: Common,
        /// Seconds before memory is read
        #[arg(long, default_value_t = 2.0)]
        rest: f64,
    },
    /// Events that come back as events, over WebSockets
    Echo {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        messages: Messages,
    },
    /// Events that are acknowledged, over WebSockets
    Ack {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        messages: Messages,
    },
    /// Binary attachments that come back, over WebSockets
    Binary {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        messages: Messages,
    },
    /// Events that come back as events, by long-polling
    Polling {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        messages: Messages,
    },
    /// Broadcasts of one client to all
    Fanout {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        broadcasts: Broadcasts,
    },
    /// Broadcasts of random clients to their rooms
    Rooms {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        broadcasts: Broadcasts,
        /// Number of rooms
        #[arg(long, default_value_t = 100)]
        rooms: usize,
    },
    /// Events that a backend sends to rooms by HTTP, to WebSockets
    Api {
        #[command(flatten)]
        common: Common,
        /// HTTP connections of the backend, each with one request at a time
        #[arg(long, default_value_t = 16)]
        connections: usize,
        /// Number of rooms
        #[arg(long, default_value_t = 100)]
        rooms: usize,
        /// Bytes of the argument of an event
        #[arg(long, default_value_t = 64)]
        size: usize,
    },
}

impl Scenario {
    fn plan(self) -> Plan {
        let echo = |kind, Messages { in_flight, size }| Load::Echo { kind, in_flight, size };
        let (common, load) = match self {
            Self::Idle { common, rest } => (common, Load::Idle { rest }),
            Self::Echo { common, messages } => (common, echo(Echo::Event, messages)),
            Self::Ack { common, messages } => (common, echo(Echo::Ack, messages)),
            Self::Binary { common, messages } => (common, echo(Echo::Binary, messages)),
            Self::Polling { common, messages: Messages { in_flight, size } } => (common, Load::Polling { in_flight, size }),
            Self::Fanout { common, broadcasts } => (common, Load::Fanout { publishing: broadcasts.publishing(), size: broadcasts.size }),
            Self::Rooms { common, broadcasts, rooms } => {
                (common, Load::Rooms { rooms, publishing: broadcasts.publishing(), size: broadcasts.size })
            }
            Self::Api { common, connections, rooms, size } => (common, Load::Api { rooms, connections, size }),
        };
        let Common { server: servers, process: targets, clients, seconds, warmup, handshakes, sources, deflate } = common;
        Plan { load, servers, targets, clients, seconds, warmup, handshakes, sources, deflate }
    }
}

fn main() -> ExitCode {
    let plan = Cli::parse().scenario.plan();
    let report = sociable_load::run(&plan).map_err(|error| error.to_string());
    let line = report.and_then(|report| Ok((serde_json::to_string(&report).map_err(|error| error.to_string())?, report.is_complete())));
    match line {
        Ok((line, is_complete)) => {
            println!("{line}");
            if is_complete { ExitCode::SUCCESS } else { ExitCode::from(2) }
        }
        Err(error) => {
            eprintln!("sociable-load: {error}");
            ExitCode::FAILURE
        }
    }
}
