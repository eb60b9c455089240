//! The administration, over real sockets.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sociable_balancer_core::{Admin, Balancer, Discovery, DiscoveryConfig, Handle, Options, Probing};
use tokio::runtime::Runtime;
use world::{Node, PATIENCE, eventually, health};

/// A balancer in front of one node, and who answers for it.
struct Setup {
    node: Node,
    discovery: Arc<Discovery>,
    balancer: Handle,
    balanced: SocketAddr,
    admin: SocketAddr,
    _runtime: Runtime,
}

impl Setup {
    fn new(says: &str) -> Self {
        let setup = Self::before(says);
        eventually("the node is found", || !setup.discovery.tables().load().nodes().is_empty());
        setup
    }

    /// Starts a balancer before a node with this answer to probes.
    fn before(says: &str) -> Self {
        let node = Node::start(says);
        let probe = Probing { interval: Duration::from_millis(20), timeout: PATIENCE / 3, ..Probing::default() };
        let discovery =
            Arc::new(Discovery::start(DiscoveryConfig { nodes: vec![node.address.into()], probe, ..DiscoveryConfig::default() }).unwrap());
        let options = Options { header_timeout: 4 * PATIENCE, ..Options::default() };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let balancer = Balancer::new(options, discovery.tables(), discovery.reports()).unwrap().workers(1);
        let balancer = balancer.bind(any, None, false).unwrap().start().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listening = Admin::bind(any).unwrap();
        let admin = listening.listener().local_addr().unwrap();
        let entered = runtime.enter();
        runtime.spawn(listening.serve(&balancer, Arc::clone(&discovery), None).unwrap());
        drop(entered);
        Self { balanced: balancer.addrs()[0], node, discovery, balancer, admin, _runtime: runtime }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = ask(self.admin, &format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.admin));
        (status, body)
    }

    fn metrics(&self) -> Metrics {
        let accept = "application/openmetrics-text;version=1.0.0";
        let (status, _, text) = ask(self.admin, &format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\n\r\n", self.admin));
        assert_eq!(status, 200, "{text}");
        Metrics::parse(&text)
    }

    /// Returns the status of an answer to a client.
    fn balanced(&self, target: &str) -> u16 {
        ask(self.balanced, &format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).0
    }
}

/// Status, head and body of the answer.
fn ask(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
}

/// The values by name and labels, as they are written.
struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    fn parse(text: &str) -> Self {
        let lines = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no end: {text}")).lines();
        let (mut values, mut types) = (BTreeMap::new(), BTreeSet::new());
        for line in lines {
            if let Some(metadata) = line.strip_prefix("# ") {
                let words: Vec<_> = metadata.splitn(3, ' ').collect();
                assert!(words.len() == 3 && ["HELP", "TYPE", "UNIT"].contains(&words[0]), "{line}");
                assert!(words[0] != "TYPE" || types.insert(words[1].to_owned()), "{line} again");
                assert!(words[0] != "HELP" || (words[2].ends_with('.') && !words[2].ends_with("..")), "{line}");
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(["sociable_balancer_", "sociable_build_info{", "process_"].iter().any(|prefix| series.starts_with(prefix)), "{line}");
            assert!(types.iter().any(|name| series.starts_with(&**name)), "{line} has no type");
            assert!(values.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{line} again");
        }
        Self(values)
    }

    #[track_caller]
    fn of(&self, series: &str) -> f64 {
        let known = || self.0.keys().cloned().collect::<Vec<_>>().join("\n");
        *self.0.get(&format!("sociable_balancer_{series}")).unwrap_or_else(|| panic!("no {series} among\n{}", known()))
    }

    fn has(&self, series: &str) -> bool {
        self.0.contains_key(&format!("sociable_balancer_{series}"))
    }
}

#[test]
fn every_counter_can_be_scraped() {
    let setup = Setup::new(&health("aaaa", r#","name":"first","sessions":7"#));
    let metrics = setup.metrics();
    let counters = "retries retries_refused upstream_connects upstream_connect_failures tunnels_opened tunnels_timed_out slow_clients lingers_cut \
                    responses_aborted connections_accepted connections_shed accept_pauses accept_errors tls_handshake_failures \
                    proxy_headers_refused reloads reload_failures certificate_reloads certificate_reload_failures";
    for name in counters.split_whitespace() {
        assert_eq!(metrics.of(&format!("{name}_total")), 0.0, "{name}");
    }
    for name in ["connections", "waiting_bytes", "draining"] {
        assert_eq!(metrics.of(name), 0.0, "{name}");
    }
    assert!(!metrics.has("drain_deadline_timestamp_seconds"));
    for (name, _) in setup.discovery.counters().iter() {
        metrics.of(&format!("discovery_{name}_total"));
    }
    let causes = "malformed ambiguous repeated too_many_connections long_target long_head slow long_body unsupported version websocket bad_session unknown_session \
                  too_many_sessions too_many_guesses no_node unreachable bad_answer no_answer overloaded";
    for cause in causes.split_whitespace() {
        assert_eq!(metrics.of(&format!(r#"requests_refused_total{{reason="{cause}"}}"#)), 0.0);
    }
    for kind in ["handshake", "poll", "post", "upgrade", "other"] {
        assert_eq!(metrics.of(&format!(r#"first_byte_seconds_count{{kind="{kind}"}}"#)), 0.0);
    }
    assert!(metrics.of("discovery_table_updates_total") > 0.0 && metrics.of("discovery_probes_total") > 0.0);
    let address = setup.node.address;
    for (state, count) in [("ready", 1.0), ("draining", 0.0), ("full", 0.0), ("unwell", 0.0)] {
        assert_eq!(metrics.of(&format!(r#"nodes{{state="{state}"}}"#)), count, "{state}");
        assert_eq!(metrics.of(&format!(r#"node_state{{node="first",address="{address}",state="{state}"}}"#)), count, "{state}");
    }
    assert_eq!(metrics.of(&format!(r#"node_info{{node="first",address="{address}",tag="aaaa"}}"#)), 1.0);
    assert_eq!(metrics.of(&format!(r#"node_sessions{{node="first",address="{address}"}}"#)), 7.0);
    assert_eq!(metrics.of(&format!(r#"node_placements_total{{node="first",address="{address}"}}"#)), 0.0);
}

#[test]
fn metrics_have_the_process_and_the_build() {
    let setup = Setup::new(&health("aaaa", ""));
    let metrics = setup.metrics();
    let version = env!("CARGO_PKG_VERSION");
    assert!(metrics.0.keys().any(|series| series.starts_with(&format!("sociable_build_info{{version=\"{version}\""))));
    if cfg!(target_os = "linux") {
        for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
            assert!(metrics.0.contains_key(name), "{name}");
        }
    }
}

#[test]
fn metrics_format_follows_the_accept_header() {
    let setup = Setup::new(&health("aaaa", ""));
    let get = |accept: &str| ask(setup.admin, &format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{accept}\r\n"));
    let (status, head, text) = get("");
    assert!(status == 200 && head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(text.contains("# TYPE sociable_balancer_retries_total counter\n") && !text.contains("# EOF"), "{text}");
    let (_, head, text) = get("Accept: application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1\r\n");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(text.contains("# TYPE sociable_balancer_retries counter\n") && text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn restarted_node_keeps_its_series() {
    let setup = Setup::new(&health("aaaa", r#","name":"first","sessions":7"#));
    let address = setup.node.address;
    let sessions = format!(r#"node_sessions{{node="first",address="{address}"}}"#);
    let ready = format!(r#"node_state{{node="first",address="{address}",state="ready"}}"#);
    let info = |tag: &str| format!(r#"node_info{{node="first",address="{address}",tag="{tag}"}}"#);
    assert_eq!((setup.metrics().of(&sessions), setup.metrics().of(&info("aaaa"))), (7.0, 1.0));
    setup.node.says(health("bbbb", r#","name":"first","sessions":7"#));
    eventually("its new tag is known", || setup.metrics().has(&info("bbbb")));
    let metrics = setup.metrics();
    assert!(!metrics.has(&info("aaaa")), "one tag a node");
    assert!(metrics.has(&sessions) && metrics.has(&ready));
    assert_eq!(metrics.0.keys().filter(|series| series.starts_with("sociable_balancer_node_sessions{")).count(), 1);
}

#[test]
fn counters_follow_what_happens() {
    let setup = Setup::new(&health("aaaa", ""));
    assert_eq!(setup.balanced("/socket.io/?EIO=4&transport=polling"), 200);
    assert_eq!(setup.balanced("/socket.io/?EIO=4&transport=polling&sid=no"), 400);
    assert_eq!(setup.balanced("/elsewhere"), 200);
    // A worker counts behind the last byte of its answer.
    eventually("the request is counted", || setup.metrics().of(r#"first_byte_seconds_count{kind="other"}"#) == 1.0);
    eventually("all connections are closed", || setup.metrics().of("connections") == 0.0);
    let metrics = setup.metrics();
    assert_eq!(metrics.of(&format!(r#"node_placements_total{{node="",address="{}"}}"#, setup.node.address)), 1.0);
    assert_eq!(metrics.of(r#"requests_refused_total{reason="bad_session"}"#), 1.0);
    assert_eq!(metrics.of(r#"first_byte_seconds_count{kind="handshake"}"#), 1.0);
    assert_eq!(metrics.of(r#"first_byte_seconds_bucket{le="+Inf",kind="handshake"}"#), 1.0);
    assert_eq!((metrics.of("connections_accepted_total"), metrics.of("upstream_connect_failures_total")), (3.0, 0.0));
    assert!(metrics.of("upstream_connects_total") >= 1.0);
    setup.balancer.reload(Options::default()).unwrap();
    let wrong = Options { bound: 0.0, ..Options::default() };
    setup.balancer.reload(wrong).unwrap_err();
    let metrics = setup.metrics();
    assert_eq!((metrics.of("reloads_total"), metrics.of("reload_failures_total")), (1.0, 1.0));
}

#[test]
fn metrics_hold_when_a_node_has_a_hostile_name() {
    let setup = Setup::new(&health("aaaa", r#","name":"a\"} 1\n# <b>\\""#));
    let metrics = setup.metrics();
    // The line break is escaped when the name is read.
    let address = setup.node.address;
    assert_eq!(metrics.of(&format!(r#"node_placements_total{{node="a\"}} 1\\n# <b>\\",address="{address}"}}"#)), 0.0);
    let (_, json) = setup.get("/nodes");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["nodes"][0]["name"], "a\"} 1\\n# <b>\\");
}

#[test]
fn nodes_endpoint_shows_all_nodes() {
    let setup = Setup::new(&health("aaaa", r#","name":"first","sessions":7,"max_sessions":9"#));
    let (status, head, body) = ask(setup.admin, &format!("GET /nodes HTTP/1.1\r\nHost: {}\r\n\r\n", setup.admin));
    assert!(status == 200 && head.contains("content-type: application/json"), "{head}");
    let overview: serde_json::Value = serde_json::from_str(&body).unwrap();
    let node = &overview["nodes"][0];
    assert_eq!((&node["tag"], &node["state"], &node["name"]), (&"aaaa".into(), &"ready".into(), &"first".into()));
    assert_eq!((&node["sessions"], &node["max_sessions"]), (&7.into(), &9.into()));
    assert_eq!((&node["address"], &overview["sources"][0]["names"]), (&setup.node.address.to_string().into(), &1.into()));
}

#[test]
fn readyz_fails_without_nodes_and_during_a_drain() {
    let mut setup = Setup::before("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    eventually("the balancer is not ready", || setup.get("/readyz") == (503, "no node is well".into()));
    setup.node.says(health("aaaa", ""));
    eventually("the balancer is ready", || setup.get("/readyz") == (200, "ready".into()));
    // The sessions of a node that goes need a way to it.
    setup.node.says(health("aaaa", r#","draining":true"#));
    eventually("the node drains", || setup.get("/nodes").1.contains(r#""state":"draining""#));
    assert_eq!(setup.get("/readyz"), (200, "ready".into()));
    setup.node.says(health("aaaa", ""));
    // This client is in the midst of a request: it is not closed at once.
    let mut client = TcpStream::connect(setup.balanced).unwrap();
    client.write_all(b"GET / HT").unwrap();
    eventually("the client is there", || setup.metrics().of("connections") == 1.0);
    // The worker must read the client's bytes first.
    assert_eq!(setup.balanced("/elsewhere"), 200);
    eventually("the other is gone", || setup.metrics().of("connections") == 1.0);
    setup.balancer.drain(100 * PATIENCE);
    assert_eq!(setup.get("/readyz"), (503, "draining".into()));
    assert_eq!(setup.get("/healthz"), (200, "ok".into()));
    let metrics = setup.metrics();
    assert_eq!((metrics.of("draining"), metrics.of("connections")), (1.0, 1.0));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let deadline = metrics.of("drain_deadline_timestamp_seconds");
    assert!(deadline > now && deadline <= now + (100 * PATIENCE).as_secs_f64(), "{deadline} and {now}");
    assert_eq!(setup.metrics().of("drain_deadline_timestamp_seconds"), deadline, "it stays");
    drop(client);
    eventually("no connection is left", || setup.metrics().of("connections") == 0.0);
}

#[test]
fn admin_refuses_other_names_and_methods() {
    let setup = Setup::new(&health("aaaa", ""));
    let port = setup.admin.port();
    let status = |request: &str| ask(setup.admin, request).0;
    // Prometheus and process managers use a name for this address. A foreign web page must not read it.
    for (path, by_name) in [("/", 421), ("/nodes", 421), ("/metrics", 200), ("/healthz", 200), ("/readyz", 200)] {
        assert_eq!(status(&format!("GET {path} HTTP/1.1\r\nHost: rebound.example:{port}\r\n\r\n")), by_name, "{path}");
        assert_eq!(status(&format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n")), 200, "{path}");
        assert_eq!(status(&format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")), 405, "{path}");
    }
    assert_eq!(setup.get("/elsewhere").0, 404);
    let (status, head, body) = ask(setup.admin, "HEAD / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert!(
        status == 200 && body.is_empty() && head.contains("content-security-policy: default-src 'none'; script-src 'sha256-"),
        "{head}"
    );
}

#[test]
fn silent_admin_connection_is_closed() {
    let setup = Setup::new(&health("aaaa", ""));
    let silent: Vec<_> = (0..40).map(|_| TcpStream::connect(setup.admin).unwrap()).collect();
    // Waiting connections are served after the others are closed.
    assert_eq!(setup.get("/healthz"), (200, "ok".into()));
    drop(silent);
}
