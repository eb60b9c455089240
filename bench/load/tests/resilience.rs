//! Clients that come back, against real nodes: what they got, and what they did not get.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use sociable::testing::TestServer;
use sociable::{RawArgs, Recovery, Server, Socket};
use sociable_load::{Cuts, Ending, Load, Operator, Plan, Report, RunError, Target, run, run_with};

use self::common::{CLIENTS, deaf_server_with, plan, server_with};

fn jitter(are_silent: bool) -> Load {
    Load::Jitter { cuts: Cuts { spell: 0.4, outage: 0.5, are_silent }, rate: 50.0, size: 64 }
}

/// Cuts the connections to a server for a second.
async fn cut(io: &Server, load: Load) -> Report {
    let server = TestServer::start(io).unwrap();
    let plan = Plan { seconds: 1.0, ..plan(load, server.addr().to_string().parse().unwrap()) };
    tokio::task::spawn_blocking(move || run(&plan)).await.unwrap().unwrap()
}

#[tokio::test]
async fn recovered_clients_get_every_message_once() {
    for are_silent in [false, true] {
        let io = server_with(Server::builder().recovery(Recovery::default()));
        let report = cut(&io, jitter(are_silent)).await;
        assert!(report.is_complete() && report.disorder == 0, "{report:?}");
        let returns = report.returns.unwrap();
        assert!(returns.losses > 0 && returns.recovered == returns.losses, "{returns:?}");
        assert_eq!((returns.missed, returns.absent, returns.exactly_once), (0, 0, 100.0), "{returns:?}");
    }
}

#[tokio::test]
async fn new_sessions_miss_what_was_sent_meanwhile() {
    let report = cut(&server_with(Server::builder()), jitter(false)).await;
    assert!(report.is_complete(), "nothing was lost that a new client had to get: {report:?}");
    let returns = report.returns.unwrap();
    assert_eq!((returns.recovered, returns.fresh), (0, returns.losses), "{returns:?}");
    assert_eq!(returns.missed, report.expected - report.received);
    assert!(returns.missed > 0 && returns.exactly_once < 100.0, "{returns:?}");
}

#[tokio::test]
async fn faults_of_a_server_are_told_apart() {
    let io = deaf_server_with(Server::builder());
    let (count, held) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
    io.on("broadcast", move |socket: Socket, args: RawArgs| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let room = args.decode::<String>(0).unwrap();
        let to_room = |args: &RawArgs| socket.namespace().to(room.clone()).emit("msg", args.get(1).unwrap()).unwrap();
        match number % 8 {
            // Twice.
            1 => (0..2).for_each(|_| to_room(&args)),
            // To its sender alone.
            3 => socket.emit("msg", args.get(1).unwrap()).unwrap(),
            // After the next one.
            5 => *held.lock().unwrap() = Some(args),
            _ => {
                to_room(&args);
                if let Some(earlier) = held.lock().unwrap().take() {
                    to_room(&earlier);
                }
            }
        }
        async {}
    });
    // The clients stay connected, so nothing is excused.
    let load = Load::Jitter { cuts: Cuts { spell: 60.0, outage: 1.0, are_silent: false }, rate: 50.0, size: 64 };
    let report = cut(&io, load).await;
    assert!(!report.is_complete());
    let clients = CLIENTS as u64;
    assert_eq!((report.lost % (clients - 1), report.duplicates % clients, report.disorder % clients), (0, 0, 0), "{report:?}");
    assert!(report.lost > 0 && report.duplicates > 0 && report.disorder > 0, "{report:?}");
    assert_eq!(report.returns.map(|returns| returns.missed), Some(0));
}

#[tokio::test]
async fn dismissed_clients_stay_away() {
    let io = deaf_server_with(Server::builder());
    io.on("broadcast", async |socket: Socket| socket.disconnect());
    let load = Load::Jitter { cuts: Cuts { spell: 60.0, outage: 1.0, are_silent: false }, rate: 10.0, size: 64 };
    let server = TestServer::start(&io).unwrap();
    let plan = Plan { clients: 1, seconds: 0.3, ..plan(load, server.addr().to_string().parse().unwrap()) };
    let report = tokio::task::spawn_blocking(move || run(&plan)).await.unwrap().unwrap();
    assert_eq!(report.returns.map(|returns| (returns.absent, returns.attempts)), Some((1, 0)));
}

/// A door before a server that can be replaced.
#[derive(Clone)]
struct Door {
    address: SocketAddr,
    server: Arc<Mutex<Option<TestServer>>>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    successor: Option<Target>,
}

impl Door {
    fn open(server: TestServer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let door = Self {
            address: listener.local_addr().unwrap(),
            server: Arc::new(Mutex::new(Some(server))),
            streams: Arc::default(),
            successor: None,
        };
        let through = door.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let server = through.server.lock().unwrap().as_ref().map(TestServer::addr);
                if let Some(server) = server.and_then(|server| TcpStream::connect(server).ok()) {
                    through.join(client.unwrap(), server);
                }
            }
        });
        door
    }

    fn join(&self, client: TcpStream, server: TcpStream) {
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            thread::spawn(move || {
                // Either side may end.
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
        self.streams.lock().unwrap().extend([client, server]);
    }
}

impl Operator for Door {
    fn replace(&mut self, ending: Ending) -> io::Result<()> {
        assert_eq!(ending, Ending::Killed);
        *self.server.lock().unwrap() = Some(TestServer::start(&server_with(Server::builder()))?);
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.successor = Some(Target { name: "node".into(), id: std::process::id() });
        Ok(())
    }

    fn replaced(&mut self) -> io::Result<Option<Target>> {
        Ok(self.successor.take())
    }
}

#[tokio::test]
async fn all_clients_come_back_to_the_successor() {
    let mut door = Door::open(TestServer::start(&server_with(Server::builder())).unwrap());
    let load = Load::Avalanche { ending: Ending::Killed, rate: 50.0, size: 64 };
    let plan = plan(load, door.address.to_string().parse().unwrap());
    let report = tokio::task::spawn_blocking(move || run_with(&plan, &mut door)).await.unwrap().unwrap();
    assert_eq!((report.units, report.lost, report.duplicates, report.disorder), (CLIENTS as u64, 0, 0, 0), "{report:?}");
    let returns = report.returns.unwrap();
    assert_eq!((returns.losses, returns.fresh, returns.absent), (CLIENTS as u64, CLIENTS as u64, 0), "{returns:?}");
    let back = returns.back.unwrap();
    assert!(back.all_ms >= back.p50_ms && back.all_ms > Some(500.0), "the client waits before it comes back: {returns:?}");
}

#[tokio::test]
async fn avalanche_needs_an_operator() {
    let server = TestServer::start(&server_with(Server::builder())).unwrap();
    let load = Load::Avalanche { ending: Ending::Terminated, rate: 1.0, size: 64 };
    let plan = plan(load, server.addr().to_string().parse().unwrap());
    let error = tokio::task::spawn_blocking(move || run(&plan)).await.unwrap().unwrap_err();
    assert!(matches!(error, RunError::NotReplaced(_)), "{error}");
}
