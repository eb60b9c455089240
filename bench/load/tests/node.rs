//! The generator against a real node: short runs whose counts are known.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use sociable::testing::TestServer;
use sociable::{PerMessageDeflate, RawArgs, Server, Socket};
use sociable_load::{Address, Echo, Load, Plan, Publishing, Report, RunError, Unit, run};

use self::common::{CLIENTS, plan, server_with};

/// Runs the load against a node of its own.
async fn measure(load: Load) -> Report {
    let server = TestServer::start(&server_with(Server::builder())).unwrap();
    let address = server.addr().to_string().parse().unwrap();
    let report = tokio::task::spawn_blocking(move || run(&plan(load, address))).await.unwrap().unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.received, report.expected, "{report:?}");
    assert!(report.units > 0 && report.units <= report.received, "{report:?}");
    report
}

#[tokio::test]
async fn echoes_come_back_in_every_form() {
    for kind in [Echo::Event, Echo::Ack, Echo::Binary] {
        let report = measure(Load::Echo { kind, in_flight: 3, size: 64 }).await;
        assert_eq!((report.unit, report.clients), (Unit::RoundTrip, CLIENTS));
        assert!(report.latency.is_some());
    }
}

#[tokio::test]
async fn echoes_come_back_in_polls() {
    let report = measure(Load::Polling { in_flight: 2, size: 64 }).await;
    assert_eq!(report.unit, Unit::RoundTrip);
}

#[tokio::test]
async fn broadcasts_reach_all_members_in_order() {
    let report = measure(Load::Fanout { publishing: Publishing::Window(4), size: 64, slow: 0 }).await;
    assert_eq!((report.unit, report.disorder, report.stalls), (Unit::Delivery, 0, 0));
    assert_eq!(report.expected % CLIENTS as u64, 0);
}

#[tokio::test]
async fn compressed_broadcasts_reach_half_of_the_clients() {
    let io = server_with(Server::builder().per_message_deflate(PerMessageDeflate::default()));
    let server = TestServer::start(&io).unwrap();
    let load = Load::Fanout { publishing: Publishing::Window(4), size: 4096, slow: 0 };
    let plan = Plan { deflate: 50, ..plan(load, server.addr().to_string().parse().unwrap()) };
    let report = tokio::task::spawn_blocking(move || run(&plan)).await.unwrap().unwrap();
    assert!(report.is_complete() && report.received == report.expected && report.received > 0, "{report:?}");
    let stats = io.stats();
    assert_eq!((stats.messages_deflated, stats.deflations), (report.expected / 2, report.expected / CLIENTS as u64));
}

#[tokio::test]
async fn broadcasts_keep_their_rate() {
    let report = measure(Load::Fanout { publishing: Publishing::Rate(100.0), size: 64, slow: 0 }).await;
    // A slow machine sends the rest late, but never more than 0.3 s of the rate.
    assert!(report.expected / CLIENTS as u64 <= 60, "{report:?}");
}

#[tokio::test]
async fn broadcasts_reach_their_rooms_alone() {
    let report = measure(Load::Rooms { rooms: 5, publishing: Publishing::Window(8), size: 64 }).await;
    assert_eq!(report.expected % (CLIENTS / 5) as u64, 0);
}

#[tokio::test]
async fn paced_echoes_stay_below_the_peak() {
    let report = measure(Load::Latency { share: 0.2, size: 64 }).await;
    let peak = report.peak_per_second.unwrap();
    // The warm-up of the pace is in it too. No answer takes as long as all of them.
    assert!(report.expected as f64 > 0.0 && report.per_second <= peak, "{report:?}");
    assert!(report.latency.is_some_and(|latency| latency.p50_us <= latency.p999_us), "{report:?}");
}

#[tokio::test]
async fn nobody_waits_for_slow_clients() {
    let report = measure(Load::Fanout { publishing: Publishing::Rate(50.0), size: 4096, slow: 3 }).await;
    assert_eq!(report.expected % (CLIENTS - 3) as u64, 0);
}

#[tokio::test]
async fn idle_clients_have_memory_figures() {
    let report = measure(Load::Idle { rest: 0.1 }).await;
    assert_eq!((report.unit, report.units), (Unit::Connection, CLIENTS as u64));
    assert!(report.bytes_per_connection.is_some());
    assert_eq!(report.processes.len(), 1);
}

#[tokio::test]
async fn lost_answers_are_counted_and_the_run_ends() {
    let io = Server::builder().build().unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    io.on("echo", move |socket: Socket, args: RawArgs| {
        // Every tenth message stays without an answer.
        let is_answered = !(count.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(10);
        async move {
            if is_answered {
                socket.emit("echo", args).unwrap();
            }
        }
    });
    let server = TestServer::start(&io).unwrap();
    let address = server.addr().to_string().parse().unwrap();
    let plan = plan(Load::Echo { kind: Echo::Event, in_flight: 1, size: 64 }, address);
    let report = tokio::task::spawn_blocking(move || run(&plan)).await.unwrap().unwrap();
    let asked = asked.load(Ordering::Relaxed);
    assert_eq!((report.expected, report.lost), (asked, asked / 10), "{report:?}");
    assert!(!report.is_complete());
}

/// A server that answers every connection with these bytes, and then closes it.
fn answering(bytes: &'static [u8]) -> Address {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            // The client may be gone.
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(bytes);
        }
    });
    address
}

#[test]
fn run_fails_when_the_server_refuses_upgrades() {
    let refused = answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
    let error = run(&plan(Load::Idle { rest: 0.0 }, refused)).unwrap_err();
    assert!(matches!(&error, RunError::Disconnected(why) if why.contains("503")), "{error}");
}

#[test]
fn run_fails_when_the_server_refuses_polls() {
    let refused = answering(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno");
    let error = run(&plan(Load::Polling { in_flight: 1, size: 1 }, refused)).unwrap_err();
    assert!(matches!(&error, RunError::Disconnected(why) if why.contains("400")), "{error}");
}

#[test]
fn program_refuses_other_machines_and_missing_bounds() {
    let run = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_sociable-load")).args(args).output().unwrap();
    let elsewhere = run(&["echo", "--server", "192.0.2.1:80"]);
    assert!(!elsewhere.status.success());
    assert!(String::from_utf8_lossy(&elsewhere.stderr).contains("127.0.0.0/8"), "{elsewhere:?}");
    let endless = run(&["echo", "--server", "127.0.0.1:1", "--seconds", "3600"]);
    assert!(!endless.status.success());
    assert!(String::from_utf8_lossy(&endless.stderr).contains("measured time"), "{endless:?}");
}
