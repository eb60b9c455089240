//! Micro benchmarks: what the parts of Sociable cost, one by one.
//!
//! ```text
//! cargo bench -p sociable-bench                    # all, in less than two minutes
//! cargo bench -p sociable-bench --bench actors     # one file of benches/
//! cargo bench -p sociable-bench --bench codec -- json
//! ```
//!
//! * `benches/codec.rs`: reading and writing packets, and taking WebSocket frames apart.
//! * `benches/actors.rs`: a message to an actor, as `engine` does it, and by `actix`.
//! * `benches/memory.rs`: what such an actor and such a message take of memory. It counts allocations, which would slow the others down.
//!
//! * `examples/lanes.rs`: subjects of NATS. `examples/rooms.rs`: a cluster as its rooms grow. They start what they measure.
//!
//! This library holds what they share; `process.rs` is for the examples. The load generator is a package of its own, `sociable-load`.

pub mod process;

use std::time::Duration;

use criterion::Criterion;
use sociable_engine::actor::{Actor, ActorKind, Handle};

/// A criterion that takes its arguments from the command line and about a second for each figure.
pub fn criterion() -> Criterion {
    Criterion::default()
        .without_plots()
        .sample_size(40)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args()
}

/// The state of an actor to measure with: 64 bytes, about as many as a socket's.
#[derive(Debug, Default)]
pub struct State {
    /// Makes room for a niche, as a real state has one.
    pub list: Vec<u64>,
    /// The sum.
    pub total: u64,
    /// The rest.
    pub padding: [u64; 4],
}

impl Actor for State {
    const KIND: ActorKind = ActorKind::new("benchmark");
}

/// A number is added up.
#[derive(Clone, Copy, Debug)]
pub struct Increment(pub u64);

impl Handle<Increment> for State {
    type Effect = ();

    #[inline]
    fn handle(&mut self, Increment(by): Increment) {
        self.total += by;
    }
}
