//! Nodes are found over real sockets: by lists, by DNS, and by what they answer.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use sociable_balancer_core::{Answer, Discovery, DiscoveryConfig, ProbeError, Probing, Rules, State, probe};
use world::{Nameserver, Node, PATIENCE, eventually, health};

/// Fast enough for a test, and patient enough for a machine that has much to do.
fn config() -> DiscoveryConfig {
    let every = Duration::from_millis(20);
    DiscoveryConfig {
        probe: Probing { interval: every, timeout: Duration::from_secs(5), ..Probing::default() },
        resolve_every: every,
        ..DiscoveryConfig::default()
    }
}

fn states(discovery: &Discovery) -> Vec<(String, State)> {
    let table = discovery.tables().load_full();
    table.nodes().iter().map(|node| (node.tag.to_string(), node.state)).collect()
}

fn becomes(discovery: &Discovery, expected: &[(&str, State)]) {
    let expected: Vec<_> = expected.iter().map(|(tag, state)| ((*tag).to_owned(), *state)).collect();
    let begun = std::time::Instant::now();
    while states(discovery) != expected {
        assert!(begun.elapsed() < PATIENCE, "{:?} does not become {expected:?}", states(discovery));
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn count(discovery: &Discovery, name: &str) -> u64 {
    discovery.counters().iter().find(|(it, _)| *it == name).unwrap().1
}

async fn answer(says: &str) -> Result<Answer, ProbeError> {
    let node = Node::start(says);
    let probing = Probing { timeout: PATIENCE, ..Probing::default() };
    let answer = probe(node.address, &probing).await;
    assert_eq!(node.asked(), 1);
    answer
}

#[tokio::test]
async fn probe_reads_the_health_of_a_node() {
    for says in [
        health("aaaa", r#","sessions":7,"later":[1]"#),
        health("aaaa", r#","sessions":7"#).replace("200 OK", "503 Service Unavailable"),
        // Until the end of the connection, and in chunks.
        "HTTP/1.1 200 OK\r\n\r\n{\"tag\":\"aaaa\",\"sessions\":7}".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"tag\r\n19\r\n\":\"aaaa\",\"sessions\":7   }\r\n0\r\n\r\n".into(),
    ] {
        match answer(&says).await {
            Ok(Answer::Health(health)) => assert_eq!((health.tag.as_str(), health.sessions), ("aaaa", 7), "{says}"),
            other => panic!("{other:?} for {says}"),
        }
    }
    let plain = answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert!(matches!(plain, Ok(Answer::Untagged)), "{plain:?}");
    let empty = answer("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(matches!(empty, Ok(Answer::Untagged)), "{empty:?}");
}

#[tokio::test]
async fn probe_error_names_the_cause() {
    let refused = answer("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno").await;
    assert!(matches!(refused, Err(ProbeError::Status(status)) if status == 503), "{refused:?}");
    let other = answer("SSH-2.0-OpenSSH\r\n").await;
    assert!(matches!(other, Err(ProbeError::Http(_))), "{other:?}");
    let nothing = answer("").await;
    assert!(matches!(nothing, Err(ProbeError::Http(_))), "{nothing:?}");
    let short = answer("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok").await;
    assert!(matches!(short, Err(ProbeError::Body(_))), "{short:?}");
    let long = answer(&format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(17 << 10))).await;
    assert!(matches!(&long, Err(error @ ProbeError::Body(_)) if error.to_string().contains("longer than 16384")), "{long:?}");
    let head = answer(&format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(64 << 10))).await;
    assert!(matches!(head, Err(ProbeError::Http(_))), "{head:?}");
    // The listener never accepts.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let probing = Probing { timeout: Duration::from_millis(50), ..Probing::default() };
    let timeout = probe(silent.local_addr().unwrap(), &probing).await;
    assert!(matches!(timeout, Err(ProbeError::Timeout)), "{timeout:?}");
    let gone = Node::start("").address;
    let refused = probe(gone, &Probing { timeout: PATIENCE, ..Probing::default() }).await;
    assert!(matches!(refused, Err(ProbeError::Connect(_))), "{refused:?}");
}

#[test]
fn listed_nodes_are_found_and_followed() {
    let (first, second) = (Node::start(health("aaaa", "")), Node::start(health("bbbb", r#","draining":true"#)));
    let by_name = format!("localhost:{}", second.address.port()).parse().unwrap();
    let discovery = Discovery::start(DiscoveryConfig {
        nodes: vec![first.address.into(), by_name],
        rules: Rules { dead_after: Duration::from_secs(6), ..Rules::default() },
        ..config()
    })
    .unwrap();
    becomes(&discovery, &[("aaaa", State::Ready), ("bbbb", State::Draining)]);
    // A process that takes the place of another.
    first.says(health("cccc", ""));
    becomes(&discovery, &[("bbbb", State::Draining), ("cccc", State::Ready)]);
    // Killed.
    second.says(health("bbbb", ""));
    becomes(&discovery, &[("bbbb", State::Ready), ("cccc", State::Ready)]);
    drop(first);
    becomes(&discovery, &[("bbbb", State::Ready), ("cccc", State::Unwell)]);
    becomes(&discovery, &[("bbbb", State::Ready)]);
    assert!(count(&discovery, "probe_failures") > 0 && count(&discovery, "nodes_expired") == 1);
}

#[test]
fn reports_of_workers_change_the_table() {
    let (first, second) = (Node::start(health("aaaa", "")), Node::start(health("bbbb", "")));
    let rules = Rules { refused_for: 4 * PATIENCE, ..Rules::default() };
    let nodes = vec![first.address.into(), second.address.into()];
    let probe = Probing { interval: 4 * PATIENCE, ..config().probe };
    let discovery =
        Discovery::start(DiscoveryConfig { nodes, probe, rules: Rules { dead_after: 8 * PATIENCE, ..rules }, ..config() }).unwrap();
    becomes(&discovery, &[("aaaa", State::Ready), ("bbbb", State::Ready)]);
    discovery.reports().refused("aaaa".parse().unwrap());
    becomes(&discovery, &[("aaaa", State::Full), ("bbbb", State::Ready)]);
    (0..3).for_each(|_| discovery.reports().connect_failed("bbbb".parse().unwrap()));
    // The node is the only eligible one, and it is unwell.
    eventually("it is unwell", || discovery.counters().panic_mode_activations.get() == 1);
}

#[test]
fn dns_names_all_nodes_and_keeps_them_when_it_fails() {
    let first = Node::start(health("aaaa", ""));
    let second = Node::at(SocketAddr::from(([127, 0, 0, 2], first.address.port())), health("bbbb", ""));
    let all = [Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2)];
    let names = Nameserver::start();
    names.only_says(ResponseCode::NXDomain);
    let target = format!("dns://nodes.test.:{}", first.address.port()).parse().unwrap();
    let discovery = Discovery::start(DiscoveryConfig { dns: vec![target], nameservers: vec![names.address], ..config() }).unwrap();
    eventually("there is no such name", || count(&discovery, "source_failures") > 0);
    names.addresses("nodes.test.", &all);
    names.only_says(ResponseCode::NoError);
    let both = [("aaaa", State::Ready), ("bbbb", State::Ready)];
    becomes(&discovery, &both);
    let generation = discovery.tables().load().generation();
    let fails = |what: &str| {
        let before = count(&discovery, "source_failures");
        eventually(what, || count(&discovery, "source_failures") > before + 2);
        becomes(&discovery, &both);
    };
    names.only_says(ResponseCode::NXDomain);
    fails("there is no such name any more");
    names.only_says(ResponseCode::ServFail);
    fails("the server fails");
    names.only_says(ResponseCode::NoError);
    names.addresses("nodes.test.", &[]);
    fails("the name stands for nothing");
    assert_eq!(discovery.tables().load().generation(), generation);
    // A node left the service, and its sessions have not ended.
    names.addresses("nodes.test.", &all[..1]);
    becomes(&discovery, &[("aaaa", State::Ready), ("bbbb", State::Draining)]);
    names.addresses("nodes.test.", &all);
    becomes(&discovery, &both);
    drop(second);
}

#[test]
fn srv_record_names_all_nodes() {
    let (first, second) = (Node::start(health("aaaa", "")), Node::start(health("bbbb", "")));
    let names = Nameserver::start();
    let target = "srv://_socketio._tcp.nodes.test.".parse().unwrap();
    names.addresses("first.test.", &[Ipv4Addr::LOCALHOST]);
    names.services("_socketio._tcp.nodes.test.", &[("first.test.", first.address.port()), ("second.test.", second.address.port())]);
    let discovery = Discovery::start(DiscoveryConfig { dns: vec![target], nameservers: vec![names.address], ..config() }).unwrap();
    becomes(&discovery, &[("aaaa", State::Ready)]);
    assert!(count(&discovery, "source_failures") > 0, "one of them has no address");
    names.addresses("second.test.", &[Ipv4Addr::LOCALHOST]);
    becomes(&discovery, &[("aaaa", State::Ready), ("bbbb", State::Ready)]);
}

#[tokio::test]
async fn reload_takes_effect_when_new_sources_have_spoken() {
    let (first, second) = (Node::start(health("aaaa", "")), Node::start(health("bbbb", "")));
    let names = Nameserver::start();
    let discovery = Discovery::start(DiscoveryConfig { nodes: vec![first.address.into()], ..config() }).unwrap();
    becomes(&discovery, &[("aaaa", State::Ready)]);
    assert!(discovery.reload(config()).unwrap_err().to_string().contains("name some"));
    let target = format!("dns://nodes.test.:{}", second.address.port()).parse().unwrap();
    discovery.reload(DiscoveryConfig { dns: vec![target], nameservers: vec![names.address], ..config() }).unwrap();
    eventually("the new source is asked", || count(&discovery, "source_failures") > 1);
    becomes(&discovery, &[("aaaa", State::Ready)]);
    names.addresses("nodes.test.", &[Ipv4Addr::LOCALHOST]);
    becomes(&discovery, &[("aaaa", State::Draining), ("bbbb", State::Ready)]);
    let overview = discovery.overview().await.unwrap();
    let sources: Vec<_> = overview.sources.iter().map(|source| source.source.as_str()).collect();
    assert_eq!(sources, [format!("dns://nodes.test.:{}", second.address.port())]);
    assert_eq!(overview.nodes.len(), 2);
}

#[test]
fn address_is_refused_when_it_is_malformed() {
    use sociable_balancer_core::{DnsTarget, HostPort};
    for wrong in ["", "host", ":80", "host:", "host:0", "host:65536", "10.0.0.256:80", "::1:80", "a b:80", "http://host:80", "host:80/"] {
        let error = wrong.parse::<HostPort>().unwrap_err().to_string();
        assert!(error.contains("HOST:PORT"), "{error}");
    }
    for right in ["10.0.0.1:80", "[::1]:80", "node-1:3000", "node_1.shop.:3000"] {
        assert_eq!(right.parse::<HostPort>().unwrap().to_string(), right);
    }
    for wrong in ["host:80", "dns://host", "dns://10.0.0.1:80", "srv://", "srv://a b", "http://host:80"] {
        assert!(wrong.parse::<DnsTarget>().unwrap_err().to_string().contains("dns://NAME:PORT"));
    }
    for right in ["dns://nodes.shop:3000", "srv://_socketio._tcp.nodes.shop"] {
        assert_eq!(right.parse::<DnsTarget>().unwrap().to_string(), right);
    }
}
