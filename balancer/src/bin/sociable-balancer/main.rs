//! trial
use sociable_balancer::*;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let get = |n: &str| args.iter().position(|a| a == n).map(|i| args[i + 1].clone()).unwrap_or_default();
    let mut nodes = vec![];
    for b in get("--backends").split(',') {
        let mut s = std::net::TcpStream::connect(b).unwrap();
        s.write_all(format!("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: {b}\r\nconnection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut t = String::new();
        s.read_to_string(&mut t).unwrap();
        let at = t.find("\"sid\":\"").unwrap() + 7;
        nodes.push(Node {
            tag: t[at..at + 4].parse().unwrap(),
            name: b.into(),
            address: b.parse().unwrap(),
            state: State::Ready,
            limits: Limits::default(),
            since: Instant::now(),
            load: Arc::default(),
        });
    }
    let table = Arc::new(arc_swap::ArcSwap::from_pointee(Table::new(nodes, 1)));
    let handle = Balancer::new(Options::default(), table, Reports)
        .unwrap()
        .workers(get("--workers").parse().unwrap_or(1))
        .bind(get("--listen").parse().unwrap(), None, false)
        .unwrap()
        .start()
        .unwrap();
    println!("{:?}", handle.addrs());
    loop {
        std::thread::park()
    }
}
