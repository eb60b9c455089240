//! The program with a low limit on open files.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[path = "../../../balancer/tests/world/mod.rs"]
mod world;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use self::world::{Script, connect, count, eventually, until, until_end, websocket};

/// The limit: some connections beyond the reserve.
const FILES: usize = 128;

/// A balancer as a process, which ends with this value.
struct Program {
    process: Child,
    address: SocketAddr,
    admin: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Program {
    fn start(node: SocketAddr) -> Self {
        let mut process = Command::new("sh")
            .args(["-c", &format!("ulimit -n {FILES}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_sociable-balancer")])
            .args([
                "--listen=127.0.0.1:0",
                "--admin-addr=127.0.0.1:0",
                "--workers=2",
                "--log=info",
                "--max-connections-per-address=1000",
                &format!("--nodes={node}"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (errors, writes) = (process.stderr.take().unwrap(), Arc::clone(&log));
        thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                writes.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let mut told = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut next = |before: &str| {
            let line = told.next().unwrap_or_else(|| panic!("it has ended: {}", log.lock().unwrap())).unwrap();
            line.strip_prefix(before).unwrap().parse().unwrap()
        };
        let (address, admin) = (next("listening on "), next("administration on http://"));
        Self { process, address, admin, log }
    }

    /// Returns the number of connections that it reports room for.
    fn room(&self) -> usize {
        let told =
            || self.log.lock().unwrap().split_once(" connections=")?.1.split_once(char::is_whitespace).map(|(number, _)| number.to_owned());
        eventually("the log has the number", || told().is_some());
        told().unwrap().parse().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn echo(stream: &mut TcpStream) {
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

#[test]
fn connection_waits_when_no_descriptor_is_free() {
    let node = Script::start("HoSt");
    let program = Program::start(node.address);
    let room = program.room();
    assert!((1..FILES / 2).contains(&room), "{room}");
    let open = |_| {
        let mut stream = connect(program.address);
        stream.write_all(websocket("/ws").as_bytes()).unwrap();
        assert!(until(&mut stream, "\r\n\r\n").starts_with("HTTP/1.1 101 "));
        stream
    };
    // A second round shows that no descriptor leaks.
    for _ in 0..2 {
        let mut held: Vec<_> = (0..room).map(open).collect();
        let mut waiting: Vec<_> = (0..FILES).map(|_| connect(program.address)).collect();
        for stream in &mut waiting {
            stream.write_all(b"GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        }
        held.iter_mut().for_each(echo);
        assert_eq!(count(program.admin, "connections"), room as u64, "and an operator is answered");
        held.truncate(room - 1);
        // One connection after the other takes the free place.
        for stream in &mut waiting {
            assert!(until_end(stream).ends_with("\r\n\r\nok"));
        }
        held.iter_mut().for_each(echo);
        drop(held);
        eventually("all connections have ended", || count(program.admin, "connections") == 0);
    }
    let none =
        ["accept_errors_total", "upstream_connect_failures_total", "connections_shed_total"].map(|series| count(program.admin, series));
    assert_eq!(none, [0, 0, 0], "{}", program.log.lock().unwrap());
}
