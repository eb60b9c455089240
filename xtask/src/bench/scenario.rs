//! The loads, and the sets that they form.

use super::figures::Measure;

/// A set of scenarios with the same peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// One server at a time.
    Servers,
    /// A load balancer before servers of Sociable.
    Balancers,
    /// Two nodes and a broker.
    Clusters,
    /// A server with a backend behind it.
    Backends,
    /// A server whose clients are on bad networks, are slow, or come back all at once.
    Resilience,
    /// Three nodes behind a load balancer, of which one is replaced.
    Rolling,
}

impl Set {
    pub(super) const ALL: [Self; 6] = [Self::Servers, Self::Balancers, Self::Clusters, Self::Backends, Self::Resilience, Self::Rolling];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Servers => "servers",
            Self::Balancers => "balancers",
            Self::Clusters => "clusters",
            Self::Backends => "backends",
            Self::Resilience => "resilience",
            Self::Rolling => "rolling",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    /// Returns the name of the processes that the set compares.
    pub(super) fn subject(self) -> &'static str {
        match self {
            Self::Servers | Self::Backends | Self::Resilience => "server",
            Self::Balancers => "balancer",
            Self::Clusters | Self::Rolling => "node",
        }
    }

    /// Returns the peer that the ratios are to.
    pub(super) fn base(self) -> &'static str {
        match self {
            Self::Servers => "floor",
            Self::Balancers => "nginx",
            Self::Backends => "express",
            Self::Clusters | Self::Resilience | Self::Rolling => self.ours(),
        }
    }

    /// Returns the peer that is Sociable.
    pub(super) fn ours(self) -> &'static str {
        match self {
            Self::Servers | Self::Resilience => "sociable",
            Self::Balancers => "sociable-balancer",
            Self::Clusters | Self::Rolling => "sociable-nats",
            Self::Backends => "sociable-gateway",
        }
    }

    /// Returns whether clients of the set can recover their sessions, where a server has it.
    pub(super) fn has_recovery(self) -> bool {
        matches!(self, Self::Resilience | Self::Rolling)
    }
}

/// A load, under the name of the command line.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) set: Set,
    pub(super) name: &'static str,
    /// The name in tables, with the unit of its CPU time.
    pub(super) title: &'static str,
    pub(super) per: &'static str,
    /// The arguments of the load generator.
    pub(super) load: &'static [&'static str],
    /// The servers. Behind a load balancer without a broker, a broadcast reaches one alone, and so does a session by polling.
    pub(super) servers: usize,
    /// The seconds that a run measures, unless the command line has others.
    pub(super) seconds: f64,
    pub(super) rows: &'static [Row],
}

/// A row of the tables.
#[derive(Debug)]
pub(super) struct Row {
    /// The words behind the title of the scenario; nothing for the CPU time and the memory of connections.
    title: &'static str,
    /// The figures of a cell. The medians alone stand in it if there are several.
    pub(super) measures: &'static [Measure],
}

impl Row {
    /// Returns the title with its unit.
    pub(super) fn title(&self, scenario: &Scenario) -> String {
        match self.measures {
            [Measure::Cpu] => format!("{}, µs a {}", scenario.title, scenario.per),
            [Measure::Memory] => "memory of an idle WebSocket, bytes".into(),
            _ => format!("{}: {}", scenario.title, self.title),
        }
    }
}

const CPU: Row = Row { title: "", measures: &[Measure::Cpu] };
const LATENCY: Row = Row { title: "p50 / p99 / p99.9, µs", measures: &[Measure::P50, Measure::P99, Measure::P999] };
const RECOVERED: Row = Row { title: "recovered / new sessions", measures: &[Measure::Recovered, Measure::Fresh] };
const CONNECT_ROWS: &[Row] = &[CPU, Row { title: "", measures: &[Measure::Memory] }];
const JITTER_ROWS: &[Row] = &[Row { title: "messages exactly once, %", measures: &[Measure::ExactlyOnce] }, RECOVERED, CPU];
const SLOW_ROWS: &[Row] = &[
    LATENCY,
    Row { title: "memory before / at most, MB", measures: &[Measure::StartMemory, Measure::PeakMemory] },
    Row { title: "slow clients disconnected", measures: &[Measure::SlowClosed] },
];
const AVALANCHE_ROWS: &[Row] = &[
    Row { title: "50 / 99 / 100 % back, ms after the signal", measures: &[Measure::BackHalf, Measure::BackMost, Measure::BackAll] },
    Row { title: "99 % back / first chance, ms after the loss", measures: &[Measure::AwayMost, Measure::BackoffMost] },
    Row {
        title: "attempts refused / failed / unanswered / clients never back",
        measures: &[Measure::Refused, Measure::Failed, Measure::Unanswered, Measure::Absent],
    },
    Row { title: "peak cores / MB", measures: &[Measure::PeakCores, Measure::PeakMemory] },
    RECOVERED,
    Row { title: "messages missed by new sessions", measures: &[Measure::Missed] },
];

/// The seconds that most runs measure.
pub(super) const SECONDS: f64 = 2.0;
/// The seconds of clients on bad networks, and of slow ones: the server's patience with them is 45 s.
const MINUTE: f64 = 60.0;

const fn scenario(set: Set, name: &'static str, title: &'static str, per: &'static str, load: &'static [&'static str]) -> Scenario {
    Scenario { set, name, title, per, load, servers: 1, seconds: SECONDS, rows: &[CPU] }
}

const fn server(name: &'static str, title: &'static str, per: &'static str, load: &'static [&'static str]) -> Scenario {
    scenario(Set::Servers, name, title, per, load)
}

const fn latency(name: &'static str, title: &'static str, share: &'static [&'static str]) -> Scenario {
    Scenario { rows: &[LATENCY], ..server(name, title, ROUND_TRIP, share) }
}

const fn balancer(name: &'static str, title: &'static str, per: &'static str, servers: usize, load: &'static [&'static str]) -> Scenario {
    Scenario { servers, ..scenario(Set::Balancers, name, title, per, load) }
}

const fn cluster(name: &'static str, title: &'static str, load: &'static [&'static str]) -> Scenario {
    Scenario { servers: 2, ..scenario(Set::Clusters, name, title, DELIVERY, load) }
}

const fn backend(name: &'static str, title: &'static str, per: &'static str, load: &'static [&'static str]) -> Scenario {
    scenario(Set::Backends, name, title, per, load)
}

const fn jitter(name: &'static str, title: &'static str, load: &'static [&'static str]) -> Scenario {
    Scenario { seconds: MINUTE, rows: JITTER_ROWS, ..scenario(Set::Resilience, name, title, DELIVERY, load) }
}

const fn avalanche(name: &'static str, title: &'static str, load: &'static [&'static str]) -> Scenario {
    Scenario { rows: AVALANCHE_ROWS, ..scenario(Set::Resilience, name, title, CONNECTION, load) }
}

/// Returns the scenario on three nodes behind a load balancer.
const fn rolling(scenario: Scenario) -> Scenario {
    Scenario { set: Set::Rolling, servers: 3, ..scenario }
}

const ROUND_TRIP: &str = "round trip";
const DELIVERY: &str = "delivery";
const CONNECTION: &str = "connection";

pub(super) const ALL: [Scenario; 34] = [
    server("echo", "echo", ROUND_TRIP, &["echo", "--clients", "200"]),
    server("echo16", "echo, 16 in flight", ROUND_TRIP, &["echo", "--clients", "50", "--in-flight", "16"]),
    server("echo4k", "echo, 4 KiB", ROUND_TRIP, &["echo", "--clients", "100", "--size", "4096"]),
    server("ack", "acknowledgement", ROUND_TRIP, &["ack", "--clients", "200"]),
    server("binary", "binary echo", ROUND_TRIP, &["binary", "--clients", "200"]),
    server("fanout", "fan-out, as fast as it goes", DELIVERY, &["fanout", "--clients", "1000", "--window", "4"]),
    server("fanout-rate", "fan-out, 20 broadcasts a second", DELIVERY, &["fanout", "--clients", "1000", "--rate", "20"]),
    server("rooms", "100 rooms of 10", DELIVERY, &["rooms", "--clients", "1000", "--rooms", "100", "--window", "64"]),
    server("polling", "echo by long-polling", ROUND_TRIP, &["polling", "--clients", "100", "--sources", "16"]),
    Scenario { rows: CONNECT_ROWS, ..server("idle", "connect", CONNECTION, &["idle", "--clients", "5000"]) },
    latency("latency-10", "echo at a tenth of the peak rate", &["latency", "--clients", "200", "--share", "0.1"]),
    latency("latency-50", "echo at a half of the peak rate", &["latency", "--clients", "200", "--share", "0.5"]),
    latency("latency-90", "echo at nine tenths of the peak rate", &["latency", "--clients", "200", "--share", "0.9"]),
    balancer("balancer-echo", "echo", ROUND_TRIP, 2, &["echo", "--clients", "200"]),
    balancer("balancer-fanout", "fan-out, as fast as it goes", DELIVERY, 1, &["fanout", "--clients", "1000", "--window", "4"]),
    balancer("balancer-polling", "echo by long-polling", ROUND_TRIP, 1, &["polling", "--clients", "100", "--sources", "16"]),
    Scenario { rows: CONNECT_ROWS, ..balancer("balancer-idle", "connect", CONNECTION, 2, &["idle", "--clients", "2000"]) },
    cluster("cluster-fanout", "fan-out, as fast as it goes", &["fanout", "--clients", "400", "--window", "4"]),
    cluster("cluster-rate", "fan-out, 20 broadcasts a second", &["fanout", "--clients", "400", "--rate", "20"]),
    backend("api", "event by the API to a room of 1", "sent event", &["api", "--clients", "1000", "--rooms", "1000"]),
    backend("api-rooms", "event by the API to a room of 10", "sent event", &["api", "--clients", "1000", "--rooms", "100"]),
    backend("webhook", "acknowledgement by a webhook", ROUND_TRIP, &["ack", "--clients", "50"]),
    jitter("jitter", "1,000 clients on bad networks", &["jitter", "--clients", "1000"]),
    jitter("jitter-silent", "the same, unseen by the server", &["jitter", "--clients", "1000", "--silent"]),
    Scenario {
        seconds: MINUTE,
        rows: SLOW_ROWS,
        ..scenario(
            Set::Resilience,
            "slow",
            "20 of 2,000 clients read nothing",
            DELIVERY,
            &["fanout", "--clients", "2000", "--slow", "20", "--rate", "10", "--size", "4096"],
        )
    },
    avalanche("term-5000", "SIGTERM, 5,000 clients", &["avalanche", "--clients", "5000"]),
    avalanche("term-10000", "SIGTERM, 10,000 clients", &["avalanche", "--clients", "10000"]),
    avalanche("term-15000", "SIGTERM, 15,000 clients", &["avalanche", "--clients", "15000"]),
    avalanche("kill-5000", "SIGKILL, 5,000 clients", &["avalanche", "--signal", "kill", "--clients", "5000"]),
    avalanche("kill-10000", "SIGKILL, 10,000 clients", &["avalanche", "--signal", "kill", "--clients", "10000"]),
    avalanche("kill-15000", "SIGKILL, 15,000 clients", &["avalanche", "--signal", "kill", "--clients", "15000"]),
    rolling(jitter("rolling-jitter", "1,000 clients on bad networks", &["jitter", "--clients", "1000"])),
    rolling(avalanche("rolling-term", "SIGTERM to one of three, 5,000 clients", &["avalanche", "--clients", "5000"])),
    rolling(avalanche("rolling-kill", "SIGKILL to one of three, 5,000 clients", &["avalanche", "--signal", "kill", "--clients", "5000"])),
];

/// Returns the scenarios of these names; none means all of servers. A record needs whole sets.
pub(super) fn chosen(names: &[String], of_whole_sets: bool) -> Result<Vec<&'static Scenario>, String> {
    let mut chosen = vec![];
    let default = [Set::Servers.name().to_owned()];
    for name in if names.is_empty() { &default } else { names } {
        if let Some(set) = Set::named(name) {
            chosen.extend(ALL.iter().filter(|scenario| scenario.set == set));
        } else if of_whole_sets {
            return Err(format!("cannot record {name:?} alone: give the name of a set"));
        } else {
            let scenario = ALL.iter().find(|scenario| scenario.name == name);
            chosen.push(scenario.ok_or_else(|| format!("unknown scenario {name:?}: `cargo xtask bench --list` names all"))?);
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(given: &[&str], of_whole_sets: bool) -> Result<Vec<&'static str>, String> {
        let given: Vec<_> = given.iter().map(|&name| name.to_owned()).collect();
        Ok(chosen(&given, of_whole_sets)?.iter().map(|scenario| scenario.name).collect())
    }

    #[test]
    fn scenarios_are_chosen_by_name_and_by_set() {
        assert_eq!(names(&["rooms", "clusters"], false).unwrap(), ["rooms", "cluster-fanout", "cluster-rate"]);
        assert_eq!(names(&[], true).unwrap(), names(&["servers"], true).unwrap());
        assert!(names(&["room"], false).is_err());
        assert!(names(&["rooms"], true).is_err(), "a record of one scenario would lose all others");
    }

    #[test]
    fn names_of_scenarios_differ() {
        for (at, scenario) in ALL.iter().enumerate() {
            assert!(ALL[..at].iter().all(|other| other.name != scenario.name), "{}", scenario.name);
        }
    }
}
