//! The loads, and the sets that they form.

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
}

impl Set {
    pub(super) const ALL: [Self; 4] = [Self::Servers, Self::Balancers, Self::Clusters, Self::Backends];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Servers => "servers",
            Self::Balancers => "balancers",
            Self::Clusters => "clusters",
            Self::Backends => "backends",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    /// Returns the name of the processes that the set compares.
    pub(super) fn subject(self) -> &'static str {
        match self {
            Self::Servers | Self::Backends => "server",
            Self::Balancers => "balancer",
            Self::Clusters => "node",
        }
    }

    /// Returns the peer that the ratios are to.
    pub(super) fn base(self) -> &'static str {
        match self {
            Self::Servers => "floor",
            Self::Balancers => "nginx",
            Self::Clusters => "sociable-nats",
            Self::Backends => "express",
        }
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
    /// The servers behind a load balancer. A broadcast reaches one alone, and so does a session by polling.
    pub(super) servers: usize,
}

const fn server(name: &'static str, title: &'static str, per: &'static str, load: &'static [&'static str]) -> Scenario {
    Scenario { set: Set::Servers, name, title, per, load, servers: 1 }
}

const fn backend(name: &'static str, title: &'static str, per: &'static str, load: &'static [&'static str]) -> Scenario {
    Scenario { set: Set::Backends, name, title, per, load, servers: 1 }
}

const ROUND_TRIP: &str = "round trip";
const DELIVERY: &str = "delivery";
const CONNECTION: &str = "connection";

pub(super) const ALL: [Scenario; 19] = [
    server("echo", "echo", ROUND_TRIP, &["echo", "--clients", "200"]),
    server("echo16", "echo, 16 in flight", ROUND_TRIP, &["echo", "--clients", "50", "--in-flight", "16"]),
    server("echo4k", "echo, 4 KiB", ROUND_TRIP, &["echo", "--clients", "100", "--size", "4096"]),
    server("ack", "acknowledgement", ROUND_TRIP, &["ack", "--clients", "200"]),
    server("binary", "binary echo", ROUND_TRIP, &["binary", "--clients", "200"]),
    server("fanout", "fan-out, as fast as it goes", DELIVERY, &["fanout", "--clients", "1000", "--window", "4"]),
    server("fanout-rate", "fan-out, 20 broadcasts a second", DELIVERY, &["fanout", "--clients", "1000", "--rate", "20"]),
    server("rooms", "100 rooms of 10", DELIVERY, &["rooms", "--clients", "1000", "--rooms", "100", "--window", "64"]),
    server("polling", "echo by long-polling", ROUND_TRIP, &["polling", "--clients", "100", "--sources", "16"]),
    server("idle", "connect", CONNECTION, &["idle", "--clients", "5000"]),
    Scenario {
        set: Set::Balancers,
        name: "balancer-echo",
        title: "echo",
        per: ROUND_TRIP,
        load: &["echo", "--clients", "200"],
        servers: 2,
    },
    Scenario {
        set: Set::Balancers,
        name: "balancer-fanout",
        title: "fan-out, as fast as it goes",
        per: DELIVERY,
        load: &["fanout", "--clients", "1000", "--window", "4"],
        servers: 1,
    },
    Scenario {
        set: Set::Balancers,
        name: "balancer-polling",
        title: "echo by long-polling",
        per: ROUND_TRIP,
        load: &["polling", "--clients", "100", "--sources", "16"],
        servers: 1,
    },
    Scenario {
        set: Set::Balancers,
        name: "balancer-idle",
        title: "connect",
        per: CONNECTION,
        load: &["idle", "--clients", "2000"],
        servers: 2,
    },
    Scenario {
        set: Set::Clusters,
        name: "cluster-fanout",
        title: "fan-out, as fast as it goes",
        per: DELIVERY,
        load: &["fanout", "--clients", "400", "--window", "4"],
        servers: 2,
    },
    Scenario {
        set: Set::Clusters,
        name: "cluster-rate",
        title: "fan-out, 20 broadcasts a second",
        per: DELIVERY,
        load: &["fanout", "--clients", "400", "--rate", "20"],
        servers: 2,
    },
    backend("api", "event by the API to a room of 1", "sent event", &["api", "--clients", "1000", "--rooms", "1000"]),
    backend("api-rooms", "event by the API to a room of 10", "sent event", &["api", "--clients", "1000", "--rooms", "100"]),
    backend("webhook", "acknowledgement by a webhook", ROUND_TRIP, &["ack", "--clients", "50"]),
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
