//! `sociable-load`: measures Socket.IO servers on this machine, and prints one line of JSON for a run.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sociable_load::{Address, Cuts, Echo, Ending, Load, Operator, Plan, Publishing, Target};

/// Measures a Socket.IO server on this machine, and prints one line of JSON.
///
/// The server answers the events `echo`, `join` and `broadcast`: see bench/README.md. Exit codes: 0 for a complete run, 2 if messages were lost,
/// doubled or wrong or clients were disconnected, 1 if the run failed.
#[derive(Debug, Parser)]
#[command(version, args_override_self = true)]
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

/// The signal that ends a server.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Signal {
    /// SIGTERM.
    Term,
    /// SIGKILL.
    Kill,
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
    /// Events at a share of the server's own peak rate, over WebSockets
    ///
    /// The warm-up measures the peak: its second half is a closed loop as of `echo`. Latencies count from the time at which a message had to be sent.
    Latency {
        #[command(flatten)]
        common: Common,
        /// Share of the peak rate
        #[arg(long, default_value_t = 0.5)]
        share: f64,
        /// Bytes of a message
        #[arg(long, default_value_t = 64)]
        size: usize,
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
        /// Clients that read nothing
        #[arg(long, default_value_t = 0)]
        slow: usize,
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
    /// Broadcasts of one client to all, whose connections are cut at random
    ///
    /// Clients come back as socket.io-client does, with connection state recovery and its back-off.
    Jitter {
        #[command(flatten)]
        common: Common,
        /// Broadcasts a second
        #[arg(long, default_value_t = 20.0)]
        rate: f64,
        /// Bytes of a broadcast
        #[arg(long, default_value_t = 64)]
        size: usize,
        /// Seconds between two cuts of a client: half of them more or less
        #[arg(long, default_value_t = 10.0)]
        spell: f64,
        /// Most seconds without a network; the least are a fifth of them
        #[arg(long, default_value_t = 5.0)]
        outage: f64,
        /// Cut without a word to the server, as a phone does that changes its network
        #[arg(long)]
        silent: bool,
    },
    /// Broadcasts of one client to all, while a server is replaced
    ///
    /// At the moment of the replacement the program prints a line `replace TERM` or `replace KILL`. Whoever reads it ends a server, starts its
    /// successor at the same address, and writes NAME=PID of the new process to standard input. Clients come back as socket.io-client does.
    Avalanche {
        #[command(flatten)]
        common: Common,
        /// Broadcasts a second
        #[arg(long, default_value_t = 1.0)]
        rate: f64,
        /// Bytes of a broadcast
        #[arg(long, default_value_t = 64)]
        size: usize,
        /// Signal that ends the server
        #[arg(long, value_enum, default_value = "term")]
        signal: Signal,
    },
}

/// An operator at the other end of standard input and output.
#[derive(Debug, Default)]
struct Terminal {
    successors: Option<Receiver<Target>>,
    is_replaced: bool,
}

impl Operator for Terminal {
    fn replace(&mut self, ending: Ending) -> io::Result<()> {
        let mut out = io::stdout();
        writeln!(out, "replace {ending}")?;
        out.flush()?;
        let (send, receive) = channel();
        self.successors = Some(receive);
        thread::spawn(move || {
            let lines = io::stdin().lock().lines().map_while(Result::ok);
            // The run may have ended.
            lines.filter_map(|line| line.trim().parse().ok()).all(|target| send.send(target).is_ok())
        });
        Ok(())
    }

    fn replaced(&mut self) -> io::Result<Option<Target>> {
        match self.successors.as_ref().map(Receiver::try_recv) {
            Some(Ok(target)) => {
                self.is_replaced = true;
                Ok(Some(target))
            }
            Some(Err(TryRecvError::Disconnected)) if !self.is_replaced => Err(io::Error::other("standard input has ended")),
            _ => Ok(None),
        }
    }
}

impl Scenario {
    fn plan(self) -> Plan {
        let echo = |kind, Messages { in_flight, size }| Load::Echo { kind, in_flight, size };
        let (common, load) = match self {
            Self::Idle { common, rest } => (common, Load::Idle { rest }),
            Self::Echo { common, messages } => (common, echo(Echo::Event, messages)),
            Self::Latency { common, share, size } => (common, Load::Latency { share, size }),
            Self::Ack { common, messages } => (common, echo(Echo::Ack, messages)),
            Self::Binary { common, messages } => (common, echo(Echo::Binary, messages)),
            Self::Polling { common, messages: Messages { in_flight, size } } => (common, Load::Polling { in_flight, size }),
            Self::Fanout { common, broadcasts, slow } => {
                (common, Load::Fanout { publishing: broadcasts.publishing(), size: broadcasts.size, slow })
            }
            Self::Rooms { common, broadcasts, rooms } => {
                (common, Load::Rooms { rooms, publishing: broadcasts.publishing(), size: broadcasts.size })
            }
            Self::Api { common, connections, rooms, size } => (common, Load::Api { rooms, connections, size }),
            Self::Jitter { common, rate, size, spell, outage, silent } => {
                (common, Load::Jitter { cuts: Cuts { spell, outage, are_silent: silent }, rate, size })
            }
            Self::Avalanche { common, rate, size, signal } => {
                let ending = match signal {
                    Signal::Term => Ending::Terminated,
                    Signal::Kill => Ending::Killed,
                };
                (common, Load::Avalanche { ending, rate, size })
            }
        };
        let Common { server: servers, process: targets, clients, seconds, warmup, handshakes, sources, deflate } = common;
        Plan { load, servers, targets, clients, seconds, warmup, handshakes, sources, deflate }
    }
}

fn main() -> ExitCode {
    let plan = Cli::parse().scenario.plan();
    let report = sociable_load::run_with(&plan, &mut Terminal::default()).map_err(|error| error.to_string());
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
