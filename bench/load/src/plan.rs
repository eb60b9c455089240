//! One run, and the checks of its bounds.

use thiserror::Error;

use crate::limits;
use crate::net::Address;
use crate::operator::Ending;
use crate::process::Target;

/// One run: the load, its clients and its time.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The messages of the clients.
    pub load: Load,
    /// The servers; clients are spread over them in turns.
    pub servers: Vec<Address>,
    /// The processes whose CPU time and memory are reported.
    pub targets: Vec<Target>,
    /// The number of clients.
    pub clients: usize,
    /// The seconds that are measured.
    pub seconds: f64,
    /// The seconds of the same load before.
    pub warmup: f64,
    /// The handshakes at a time.
    pub handshakes: usize,
    /// The number of source addresses, from 127.0.0.1 on.
    pub sources: u8,
    /// The percentage of the WebSockets that offer compression.
    pub deflate: u8,
}

/// The messages of the clients.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Clients that connect and then rest. Memory is read after these seconds.
    Idle {
        /// The seconds of rest.
        rest: f64,
    },
    /// Messages over a WebSocket that the server sends back.
    Echo {
        /// The form of the message.
        kind: Echo,
        /// The messages of one client that wait for their answer.
        in_flight: usize,
        /// The bytes of the argument.
        size: usize,
    },
    /// Messages over a WebSocket at a share of the server's own peak rate, which is measured in the warm-up.
    Latency {
        /// The share of the peak.
        share: f64,
        /// The bytes of the argument.
        size: usize,
    },
    /// Messages by POST that the server sends back in polls.
    Polling {
        /// The messages of one client that wait for their answer.
        in_flight: usize,
        /// The bytes of the argument.
        size: usize,
    },
    /// Broadcasts of one client to a room with all of them.
    Fanout {
        /// The pace.
        publishing: Publishing,
        /// The bytes of the argument.
        size: usize,
        /// The clients that read nothing. Nobody waits for them.
        slow: usize,
    },
    /// Broadcasts of random clients to their rooms.
    Rooms {
        /// The number of rooms; each has the same number of clients.
        rooms: usize,
        /// The pace.
        publishing: Publishing,
        /// The bytes of the argument.
        size: usize,
    },
    /// Events that a backend sends to rooms by HTTP.
    Api {
        /// The number of rooms; each has the same number of clients.
        rooms: usize,
        /// The HTTP connections of the backend; each has one request at a time.
        connections: usize,
        /// The bytes of the argument.
        size: usize,
    },
    /// Broadcasts of one client to all, whose connections are cut. They come back as `socket.io-client` does.
    Jitter {
        /// The cuts.
        cuts: Cuts,
        /// The broadcasts a second.
        rate: f64,
        /// The bytes of the argument.
        size: usize,
    },
    /// Broadcasts of one client to all, while a server is replaced. They come back as `socket.io-client` does.
    Avalanche {
        /// The end of the server.
        ending: Ending,
        /// The broadcasts a second.
        rate: f64,
        /// The bytes of the argument.
        size: usize,
    },
}

/// The losses of the clients' networks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cuts {
    /// The mean seconds between two of a client: half of it more or less.
    pub spell: f64,
    /// The most seconds without a network. The least are a fifth of it.
    pub outage: f64,
    /// True if the server does not learn of the loss.
    pub are_silent: bool,
}

/// The form of a message that is sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// An event, answered by an event.
    Event,
    /// An event, answered by an acknowledgement.
    Ack,
    /// An event with a binary attachment, answered by the same.
    Binary,
}

/// The pace of broadcasts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Publishing {
    /// As fast as so many broadcasts in flight go.
    Window(usize),
    /// So many broadcasts a second, whatever the server does.
    Rate(f64),
}

/// A bound that a plan breaks.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum PlanError {
    /// The plan names no server.
    #[error("no server: give at least one address")]
    NoServer,
    /// A figure is out of its bounds.
    #[error("{figure} is {value}: give {least} to {most}")]
    OutOfBounds {
        /// The name of the figure.
        figure: &'static str,
        /// The figure.
        value: f64,
        /// The lowest that is allowed.
        least: f64,
        /// The highest that is allowed.
        most: f64,
    },
}

fn bounded(figure: &'static str, value: f64, least: f64, most: f64) -> Result<(), PlanError> {
    // A value that is no number is in no range.
    if (least..=most).contains(&value) { Ok(()) } else { Err(PlanError::OutOfBounds { figure, value, least, most }) }
}

fn counted(figure: &'static str, value: usize, least: usize, most: usize) -> Result<(), PlanError> {
    bounded(figure, value as f64, least as f64, most as f64)
}

impl Default for Plan {
    /// Returns a plan of 100 idle clients, without a server.
    fn default() -> Self {
        let load = Load::Idle { rest: 2.0 };
        Self { load, servers: vec![], targets: vec![], clients: 100, seconds: 3.0, warmup: 1.0, handshakes: 64, sources: 1, deflate: 0 }
    }
}

fn broadcasts(publishing: Publishing, size: usize) -> Result<(), PlanError> {
    counted("size of a broadcast", size, limits::LEAST_BROADCAST, limits::SIZE)?;
    match publishing {
        Publishing::Window(window) => counted("number of broadcasts in flight", window, 1, limits::WINDOW),
        Publishing::Rate(rate) => bounded("number of broadcasts a second", rate, 0.1, limits::RATE),
    }
}

impl Plan {
    /// Checks the bounds of [`limits`].
    ///
    /// # Errors
    ///
    /// If a figure is out of its bounds.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.servers.is_empty() {
            return Err(PlanError::NoServer);
        }
        counted("number of clients", self.clients, self.load.rooms() * self.servers.len(), limits::CLIENTS)?;
        bounded("measured time in seconds", self.seconds, 0.1, limits::SECONDS)?;
        bounded("warm-up in seconds", self.warmup, 0.0, limits::SECONDS)?;
        counted("number of handshakes at a time", self.handshakes, 1, limits::HANDSHAKES)?;
        counted("number of source addresses", self.sources.into(), 1, limits::SOURCES.into())?;
        counted("percentage of compressed WebSockets", self.deflate.into(), 0, 100)?;
        if let Load::Latency { .. } = self.load {
            bounded("warm-up in seconds", self.warmup, limits::LEAST_PEAK, limits::SECONDS)?;
        }
        if let Load::Fanout { slow, .. } = self.load {
            counted("number of slow clients", slow, 0, self.clients - 1)?;
        }
        self.load.check()
    }
}

impl Load {
    /// Returns the number of rooms; 1 if clients join none.
    pub(crate) fn rooms(&self) -> usize {
        if let Self::Rooms { rooms, .. } | Self::Api { rooms, .. } = *self { rooms } else { 1 }
    }

    fn check(&self) -> Result<(), PlanError> {
        match *self {
            Self::Idle { rest } => bounded("rest in seconds", rest, 0.0, limits::SECONDS),
            Self::Echo { in_flight, size, .. } | Self::Polling { in_flight, size } => {
                counted("number of messages in flight", in_flight, 1, limits::IN_FLIGHT)?;
                counted("size of a message", size, 0, limits::SIZE)
            }
            Self::Latency { share, size } => {
                bounded("share of the peak rate", share, 0.01, 1.0)?;
                counted("size of a message", size, 0, limits::SIZE)
            }
            Self::Jitter { cuts, rate, size } => {
                bounded("time between cuts in seconds", cuts.spell, limits::LEAST_CUT, limits::SECONDS)?;
                bounded("outage in seconds", cuts.outage, limits::LEAST_CUT, limits::SECONDS)?;
                broadcasts(Publishing::Rate(rate), size)
            }
            Self::Avalanche { rate, size, .. } => broadcasts(Publishing::Rate(rate), size),
            Self::Api { connections, size, .. } => {
                counted("number of rooms", self.rooms(), 1, limits::CLIENTS)?;
                counted("size of an event", size, limits::LEAST_BROADCAST, limits::SIZE)?;
                counted("number of connections of the backend", connections, 1, limits::WINDOW)
            }
            Self::Fanout { publishing, size, .. } | Self::Rooms { publishing, size, .. } => {
                counted("number of rooms", self.rooms(), 1, limits::CLIENTS)?;
                broadcasts(publishing, size)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let load = Load::Rooms { rooms: 10, publishing: Publishing::Window(4), size: 64 };
        Plan { load, servers: vec!["127.0.0.1:3000".parse().unwrap()], ..Plan::default() }
    }

    #[test]
    fn plan_within_its_bounds_is_accepted() {
        assert_eq!(plan().check(), Ok(()));
    }

    #[test]
    fn plan_is_refused_beyond_a_bound() {
        let fanout = |publishing, slow| Load::Fanout { publishing, size: 64, slow };
        let breaks: [&dyn Fn(&mut Plan); 17] = [
            &|plan: &mut Plan| plan.servers.clear(),
            &|plan: &mut Plan| plan.clients = 0,
            &|plan: &mut Plan| plan.clients = 9,
            &|plan: &mut Plan| plan.clients = limits::CLIENTS + 1,
            &|plan: &mut Plan| plan.seconds = limits::SECONDS + 1.0,
            &|plan: &mut Plan| plan.seconds = f64::NAN,
            &|plan: &mut Plan| plan.seconds = f64::INFINITY,
            &|plan: &mut Plan| plan.warmup = -1.0,
            &|plan: &mut Plan| plan.handshakes = 0,
            &|plan: &mut Plan| plan.sources = 0,
            &|plan: &mut Plan| plan.deflate = 101,
            &|plan: &mut Plan| plan.load = fanout(Publishing::Rate(1e9), 0),
            &|plan: &mut Plan| plan.load = Load::Echo { kind: Echo::Ack, in_flight: 1, size: limits::SIZE + 1 },
            &|plan: &mut Plan| plan.load = fanout(Publishing::Rate(1.0), plan.clients),
            &|plan: &mut Plan| plan.load = Load::Latency { share: 1.5, size: 64 },
            &|plan: &mut Plan| (plan.load, plan.warmup) = (Load::Latency { share: 0.5, size: 64 }, 0.0),
            &|plan: &mut Plan| {
                let cuts = Cuts { spell: 0.0, outage: 1.0, are_silent: false };
                plan.load = Load::Jitter { cuts, rate: 1.0, size: 64 };
            },
        ];
        for (at, break_it) in breaks.into_iter().enumerate() {
            let mut plan = plan();
            break_it(&mut plan);
            assert!(plan.check().is_err(), "{at}: {plan:?}");
        }
    }
}
