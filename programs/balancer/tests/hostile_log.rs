//! Text from clients and nodes gets into the log escaped.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[path = "../../../balancer/tests/world/mod.rs"]
mod world;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use self::world::{Node, Script, connect, health, until};

/// A balancer as a process, which ends with this value.
struct Program {
    process: Child,
    log: String,
}

impl Program {
    fn start(node: SocketAddr) -> (Self, TcpStream) {
        let mut process = Command::new(env!("CARGO_BIN_EXE_sociable-balancer"))
            .args(["--listen=127.0.0.1:0", "--workers=1", "--access-log", &format!("--nodes={node}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let line = until(process.stdout.as_mut().unwrap(), "\n");
        let stream = connect(line.trim().strip_prefix("listening on ").unwrap().parse().unwrap());
        (Self { process, log: String::new() }, stream)
    }

    /// Reads the log until it has this part so many times.
    fn read_until(&mut self, part: &str, times: usize) {
        while self.log.matches(part).count() < times {
            let line = until(self.process.stderr.as_mut().unwrap(), "\n");
            self.log.push_str(&line);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn access_log_shows_no_session_id() {
    let node = Script::start("HoSt");
    let (mut program, mut client) = Program::start(node.address);
    for sid in ["HoSteeeeeeeeeeeeewxy", "HoSt%65eeeeeeeeeeeewxz"] {
        client.write_all(format!("GET /socket.io/?EIO=4&sid={sid} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).unwrap();
        until(&mut client, "\r\n\r\nok");
    }
    program.read_until("&sid=HoSt..", 2);
    assert!(program.log.contains("sid=HoSt..ewxy") && program.log.contains("sid=HoSt..ewxz"), "{}", program.log);
    assert!(!program.log.contains("eeee"), "{}", program.log);
}

#[test]
fn log_holds_when_a_node_has_a_hostile_name() {
    let node = Node::start(health("HoSt", r#","name":"a\nforged line\r\u001b[2J\u202eb""#));
    let (mut program, _) = Program::start(node.address);
    program.read_until("node joined", 1);
    assert!(program.log.contains(r"forged line") && !program.log.contains(['\x1b', '\r', '\u{202e}']), "{}", program.log);
    assert!(!program.log.lines().any(|line| line.starts_with("forged")), "{}", program.log);
}
