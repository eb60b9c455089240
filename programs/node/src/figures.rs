//! The live figures of this node, which each tab gets every second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::Serialize;
use sociable::{Id, Namespace, Room, RoomEvent, Server};
use tokio::time::{MissedTickBehavior, interval};

const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MetricsSnapshot<'a> {
    node: &'a str,
    connections: usize,
    rooms: u64,
    messages_per_second: f64,
    /// Seconds.
    uptime: u64,
}

/// Sends the figures to all sockets that a namespace has on this node, as long as the program runs.
pub(crate) fn start(io: &Server, namespace: &Namespace, node: String) {
    let started = Instant::now();
    let rooms = count_rooms(namespace);
    let (io, namespace) = (io.clone(), namespace.clone());
    actix_web::rt::spawn(async move {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut counted) = (ticks.tick().await, 0);
        // The figures are messages too, and an idle node shall show none.
        let mut own = 0;
        loop {
            let now = ticks.tick().await;
            let stats = io.stats();
            let messages = stats.messages_in + stats.messages_out;
            let figures = MetricsSnapshot {
                node: &node,
                connections: io.session_count(),
                rooms: rooms.load(Relaxed),
                messages_per_second: (messages - counted).saturating_sub(own) as f64 / now.duration_since(last).as_secs_f64(),
                uptime: started.elapsed().as_secs(),
            };
            (last, counted, own) = (now, messages, namespace.socket_count() as u64);
            // A slow client gets the next figures. Each node sends to its own clients.
            if let Err(error) = namespace.local().volatile().emit("figures", &figures) {
                tracing::debug!(%error, "figures not sent to all sockets");
            }
        }
    });
}

/// Counts rooms as they are created and deleted. A list of all rooms each second would copy all names.
fn count_rooms(namespace: &Namespace) -> Arc<AtomicU64> {
    let rooms = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&rooms);
    namespace.on_room_event(move |event| match event {
        // The own room of a socket, named by its id, is none for people.
        RoomEvent::Create(room) if !is_id(room) => drop(count.fetch_add(1, Relaxed)),
        RoomEvent::Delete(room) if !is_id(room) => drop(count.fetch_sub(1, Relaxed)),
        _ => {}
    });
    rooms
}

fn is_id(room: &Room) -> bool {
    Id::try_from(&**room).is_ok()
}
