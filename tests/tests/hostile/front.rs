//! A balancer in front of nodes.

use std::net::SocketAddr;
use std::time::Duration;

use sociable_balancer_core::{Balancer, Discovery, DiscoveryConfig, Handle, Options, Probing};
use sociable_tests::{Node, eventually};

/// A balancer that has found its nodes.
pub(crate) struct Front {
    pub(crate) discovery: Discovery,
    balancer: Handle,
}

impl Front {
    pub(crate) async fn start(nodes: &[Node], options: Options) -> Self {
        let probe = Probing { interval: Duration::from_millis(20), ..Probing::default() };
        let addresses = nodes.iter().map(|node| node.addr.into()).collect();
        let discovery = Discovery::start(DiscoveryConfig { nodes: addresses, probe, ..DiscoveryConfig::default() }).unwrap();
        eventually("the nodes are found", || discovery.tables().load().ready().len() == nodes.len()).await;
        let balancer = Balancer::new(options, discovery.tables(), discovery.reports()).unwrap().workers(1);
        let balancer = balancer.bind("127.0.0.1:0".parse().unwrap(), None, false).unwrap().start().unwrap();
        Self { discovery, balancer }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.balancer.addrs()[0]
    }
}
