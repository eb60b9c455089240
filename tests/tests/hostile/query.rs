//! Node and balancer read a query in the same way. A client can't choose its node, nor evade the limit on new sessions.

use std::net::SocketAddr;

use sociable::Server;
use sociable_balancer_core::Options;
use sociable_tests::{Node, Response, get, upgrade};

use crate::front::Front;

/// Two nodes behind a balancer.
struct Cluster {
    servers: [Server; 2],
    nodes: [Node; 2],
    front: Front,
}

impl Cluster {
    async fn start(options: Options) -> Self {
        let servers = [Server::builder().build().unwrap(), Server::builder().build().unwrap()];
        let nodes = servers.each_ref().map(|server| Node::with_health(server, 1));
        let front = Front::start(&nodes, options).await;
        Self { servers, nodes, front }
    }

    fn address(&self) -> SocketAddr {
        self.front.addr()
    }

    /// An id with the tag of the first node, which no session has.
    fn stranger(&self) -> String {
        format!("{}0000000000000000", self.servers[0].health().tag)
    }

    fn placements(&self) -> u64 {
        self.front.discovery.tables().load().nodes().iter().map(|node| node.load.placements()).sum()
    }
}

/// Returns true if a session was opened.
fn opened(answer: &Response) -> bool {
    answer.status == 101 || answer.status == 200 && answer.body.starts_with(b"0{")
}

#[tokio::test]
async fn sessions_stay_limited_when_a_sid_is_repeated() {
    let cluster = Cluster::start(Options { session_rate: 1.0, ..Options::default() }).await;
    let sid = cluster.stranger();
    for query in [format!("sid={sid}&sid="), format!("sid=&sid={sid}"), format!("s%69d={sid}&sid"), format!("sid={sid}&sid={sid}")] {
        let polling = format!("/socket.io/?EIO=4&transport=polling&{query}");
        let websocket = format!("/socket.io/?EIO=4&transport=websocket&{query}");
        for address in [cluster.address(), cluster.nodes[0].addr] {
            for _ in 0..5 {
                assert_eq!(get(address, &polling).await.brief(), (400, r#"{"code":3,"message":"Bad request"}"#), "{query}");
                assert_eq!(upgrade(address, &websocket, &[]).await.brief(), (400, "Bad request"), "{query}");
            }
        }
    }
    assert_eq!(cluster.servers.each_ref().map(|server| server.health().sessions), [0, 0]);
    assert_eq!(cluster.placements(), 0);
    // An honest client is served.
    assert!(opened(&get(cluster.address(), "/socket.io/?EIO=4&transport=polling").await));
}

/// Numbers that look random, and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % most
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

#[tokio::test]
async fn node_and_balancer_agree_on_generated_queries() {
    let cluster = Cluster::start(Options { session_rate: 1e6, guess_rate: 1e6, ..Options::default() }).await;
    let stranger = cluster.stranger();
    let encoded = format!("%{:02x}{}", stranger.as_bytes()[0], &stranger[1..]);
    let names = ["sid", "sid", "s%69d", "%73%69%64", "Sid", "sid%00", "transport", "transpor%74", "EIO", "%45IO", "t", "", "b64"];
    let values = ["", "", &stranger, &encoded, "xxxx0000000000000000", "junk", "+", "%", "%ff", "polling", "websocket", "4", "=", "a=b"];
    let mut dice = Dice(0x5eed_cafe_f00d_d1ce);
    let mut seen = [0; 3];
    for _ in 0..400 {
        let websocket = dice.below(3) == 0;
        let transport = if websocket { "websocket" } else { "polling" };
        // Most queries start as those of a real client.
        let mut query = dice.of(&["EIO=4&transport=", "EIO=4&transport=", "transport="]).to_owned() + transport;
        for _ in 0..dice.below(4) {
            query += dice.of(&["&", "&", "&", "&&", ";"]);
            query += dice.of(&names);
            query += dice.of(&["=", "=", "=", "", "%3d"]);
            query += dice.of(&values);
        }
        let target = format!("/socket.io/?{query}");
        let ask = async |address| if websocket { upgrade(address, &target, &[]).await } else { get(address, &target).await };
        let direct = ask(cluster.nodes[0].addr).await;
        let placed = cluster.placements();
        let balanced = ask(cluster.address()).await;
        assert_eq!((direct.status, opened(&direct)), (balanced.status, opened(&balanced)), "{query}: {direct:?} and {balanced:?}");
        assert!(!opened(&balanced) || cluster.placements() == placed + 1, "{query} opens a session that is not counted");
        let repeats = |answer: &Response| matches!(answer.text(), "Bad request" | r#"{"code":3,"message":"Bad request"}"#);
        if repeats(&direct) || repeats(&balanced) {
            assert_eq!(direct.brief(), balanced.brief(), "{query}");
        }
        seen[if opened(&direct) { 0 } else { 1 + usize::from(repeats(&direct)) }] += 1;
    }
    assert!(seen.iter().all(|seen| *seen > 20), "each kind comes up: {seen:?}");
}
