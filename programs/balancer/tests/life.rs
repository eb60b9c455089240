//! The program over its life: a log without a reader, a reload of the settings, and a stop while clients wait.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[path = "../../../balancer/tests/world/mod.rs"]
mod world;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::Duration;

use sociable_balancer_core::{Balancer, Discovery, DiscoveryConfig, Options};

use self::world::{Certificate, PATIENCE, Script, World, connect, count, eventually, listener, until, until_end};

/// The program and a file with its settings.
struct Program {
    child: Child,
    file: PathBuf,
    addresses: Vec<SocketAddr>,
}

impl Program {
    /// Starts it with these settings, on free ports.
    fn start(name: &str, settings: &str) -> Self {
        let file = std::env::temp_dir().join(format!("sociable-life-{}-{name}.toml", std::process::id()));
        fs::write(&file, settings).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_sociable-balancer"))
            .arg("--config")
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let wanted = 1 + usize::from(settings.contains("tls-listen")) + usize::from(settings.contains("admin-addr"));
        let address = |line: String| line.rsplit([' ', '/']).next().unwrap().parse().unwrap();
        let addresses = lines.take(wanted).map(address).collect();
        Self { child, file, addresses }
    }

    fn signal(&self, signal: &str) {
        // `kill` is part of the shell, but not a program on every system.
        let told = Command::new("sh").args(["-c", &format!("kill {signal} {}", self.child.id())]).status();
        assert!(told.unwrap().success());
    }

    /// Returns its log from here on.
    fn log(&mut self) -> BufReader<ChildStderr> {
        BufReader::new(self.child.stderr.take().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.file);
    }
}

/// Reads the log up to a line with this text. Returns the line.
fn logged(log: &mut impl BufRead, text: &str) -> String {
    lines_until(log, text).pop().unwrap()
}

/// Returns the lines of the log up to one with this text.
fn lines_until(log: &mut impl BufRead, text: &str) -> Vec<String> {
    let mut lines = vec![];
    for line in log.lines().map_while(Result::ok) {
        lines.push(line);
        if lines.last().is_some_and(|line| line.contains(text)) {
            return lines;
        }
    }
    panic!("{text} is not logged: {lines:?}")
}

fn get(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).unwrap();
    until(stream, "\r\n\r\nok")
}

#[test]
fn balancer_serves_when_nobody_reads_its_log() {
    let node = Script::start("LiFe");
    let settings = format!("listen = ['127.0.0.1:0']\nnodes = ['{}']\naccess-log = true\nworkers = 2", node.address);
    let program = Program::start("log", &settings);
    // These lines exceed the pipe and the queue of the log.
    let path = format!("/{}", "x".repeat(2_000));
    for _ in 0..4 {
        let mut client = connect(program.addresses[0]);
        for _ in 0..3_000 {
            assert!(get(&mut client, &path).starts_with("HTTP/1.1 200 OK\r\n"));
        }
    }
}

#[test]
fn log_is_json_and_signals_change_its_level() {
    let node = Script::start("LiFe");
    let settings = format!(
        "listen = ['127.0.0.1:0']\nnodes = ['{}']\nlog = 'warn,sociable::balancer=info,sociable::log=info'\nlog-format = 'json'",
        node.address
    );
    let mut program = Program::start("json", &settings);
    let mut log = program.log();
    let begun = logged(&mut log, "listening on");
    assert!(begun.starts_with('{') && begun.contains(r#""level":"INFO""#) && begun.contains(r#""target":"sociable::balancer""#), "{begun}");
    let mut client = connect(program.addresses[0]);
    get(&mut client, "/unlogged");
    for (signal, filter) in [("-USR1", "info,sociable=debug"), ("-USR2", "info,sociable=trace")] {
        program.signal(signal);
        let until_switched = lines_until(&mut log, "log filter changed");
        assert!(until_switched.iter().all(|line| !line.contains("/unlogged")), "{until_switched:?}");
        let switched = until_switched.last().unwrap();
        assert!(switched.contains(&format!(r#""filter":"{filter}""#)), "{switched}");
        get(&mut client, "/logged");
        assert!(logged(&mut log, "/logged").contains(r#""target":"sociable::access""#));
    }
    program.signal("-USR2");
    let switched = logged(&mut log, "log filter changed");
    assert!(switched.contains("sociable::balancer=info") && switched.contains("sociable::access=off"), "{switched}");
}

#[test]
fn log_shows_no_password_at_any_level() {
    let node = Script::start("LiFe");
    // This NATS server refuses every client, so the balancer keeps trying.
    let nats = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = |log: &str| {
        let nats = nats.local_addr().unwrap();
        format!("listen = ['127.0.0.1:0']\nnodes = ['{}']\nnats = 'nats://me:xyzzy@{nats}'\nlog = '{log}'", node.address)
    };
    let (first, second) = (settings("trace"), settings("info,async_nats::connector=trace,async_nats=trace"));
    thread::spawn(move || nats.incoming().for_each(drop));
    let mut program = Program::start("secret", &first);
    let mut log = program.log();
    let mut lines = lines_until(&mut log, "TRACE async_nats");
    fs::write(&program.file, second).unwrap();
    program.signal("-HUP");
    lines.extend(lines_until(&mut log, "settings reloaded"));
    lines.extend(lines_until(&mut log, "TRACE async_nats"));
    // The fault of the file follows a secret.
    fs::write(&program.file, "nats-password = 'xyzzy").unwrap();
    program.signal("-HUP");
    lines.extend(lines_until(&mut log, "the previous ones stay in effect"));
    assert!(lines.last().is_some_and(|line| line.contains("line 1, column ")), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains("xyzzy")), "{lines:?}");
}

#[test]
fn reload_applies_all_settings_or_none() {
    let node = Script::start("LiFe");
    let folder = std::env::temp_dir().join(format!("sociable-life-{}-tls", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let certificates = ["one", "two"].map(|name| {
        let certificate = Certificate::new();
        let [pem, key] = ["pem", "key"].map(|kind| folder.join(format!("{name}.{kind}")));
        fs::write(&pem, &certificate.pem[0]).unwrap();
        fs::write(&key, &certificate.pem[1]).unwrap();
        (certificate, pem, key)
    });
    let settings = |at: usize, more: &str| {
        let (_, pem, key) = &certificates[at];
        format!(
            "listen = ['127.0.0.1:0']\ntls-listen = ['127.0.0.1:0']\nadmin-addr = '127.0.0.1:0'\nnodes = ['{}']\ntls-cert = ['{}']\ntls-key = ['{}']\n{more}",
            node.address,
            pem.display(),
            key.display()
        )
    };
    let mut program = Program::start("reload", &settings(0, ""));
    let [plain, tls, admin] = program.addresses[..] else { panic!("three addresses") };
    let mut log = program.log();
    let served = |at: usize| {
        let mut stream = certificates[at].0.over(connect(tls));
        let asked = stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        asked.is_ok_and(|()| stream.read(&mut [0; 16]).is_ok_and(|length| length > 0))
    };
    let long = || {
        let mut client = connect(plain);
        client
            .write_all(
                format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 100\r\n\r\n{}", "x".repeat(100)).as_bytes(),
            )
            .unwrap();
        until_end(&mut client)
    };
    assert!(served(0) && long().starts_with("HTTP/1.1 200 "));

    // The key does not fit: neither the limit nor the certificate changes.
    let torn = settings(1, "max-body = 10").replace("two.key", "one.key");
    fs::write(&program.file, torn).unwrap();
    program.signal("-HUP");
    assert!(logged(&mut log, "the previous ones stay in effect").contains("unusable together"));
    assert!(served(0) && long().starts_with("HTTP/1.1 200 "));
    assert_eq!((count(admin, "reloads_total"), count(admin, "reload_failures_total")), (0, 1));

    fs::write(&program.file, settings(1, "max-body = 10\nworkers = 7\naccess-log = true")).unwrap();
    program.signal("-HUP");
    assert!(logged(&mut log, "settings reloaded").contains("workers"), "the unchangeable setting is named");
    assert!(served(1) && long().starts_with("HTTP/1.1 413 "));
    assert!(logged(&mut log, "sociable::access").contains("status="));
    assert_eq!((count(admin, "reloads_total"), count(admin, "reload_failures_total")), (1, 1));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn drain_closes_the_connection_behind_a_waiting_poll() {
    let node = Script::start("LiFe");
    let discovery = Discovery::start(DiscoveryConfig { nodes: vec![node.address.into()], ..DiscoveryConfig::default() }).unwrap();
    eventually("the node is found", || discovery.tables().load().ready().len() == 1);
    let balancer = Balancer::new(Options::default(), discovery.tables(), discovery.reports()).unwrap().workers(1);
    let mut balancer = balancer.listen(listener("127.0.0.1:0"), None, false).start().unwrap();
    let [mut client, mut idle] = [connect(balancer.addrs()[0]), connect(balancer.addrs()[0])];
    get(&mut idle, "/");
    client.write_all(b"GET /held HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the poll waits", || node.requests().len() == 2);
    balancer.drain(10 * PATIENCE);
    // An idle connection is closed first: the worker drains.
    assert_eq!(until_end(&mut idle), "");
    node.release();
    let answer = until_end(&mut client);
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[test]
fn drain_waits_for_a_tls_handshake_under_way() {
    let node = Script::start("LiFe");
    let certificate = Certificate::new();
    let discovery = Discovery::start(DiscoveryConfig { nodes: vec![node.address.into()], ..DiscoveryConfig::default() }).unwrap();
    eventually("the node is found", || discovery.tables().load().ready().len() == 1);
    let balancer = Balancer::new(Options::default(), discovery.tables(), discovery.reports()).unwrap().workers(1);
    let mut balancer = balancer.listen(listener("127.0.0.1:0"), Some(certificate.server("http/1.1")), false).start().unwrap();
    let client = connect(balancer.addrs()[0]);
    eventually("the connection is accepted", || balancer.connections() == 1);
    balancer.drain_after_handover(10 * PATIENCE);
    // Workers check once a second whether they are done.
    thread::sleep(Duration::from_millis(2500));
    let mut client = certificate.over(client);
    client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    assert!(until_end(&mut client).starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn upgrade_of_http_1_0_is_served_as_a_request() {
    let world = World::new();
    let mut old = world.connect();
    // HTTP/1.0 has no WebSockets, so the node gets a request for a page.
    old.write_all(
        b"GET /page HTTP/1.0\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .unwrap();
    assert!(until_end(&mut old).starts_with("HTTP/1.1 200 OK\r\n"));
    let requests = world.node.requests();
    assert!(requests.len() == 1 && !requests[0].contains("upgrade"), "{requests:?}");
}
