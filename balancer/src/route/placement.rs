//! The placement of new sessions.
//!
//! Without a key, two nodes are drawn, and the one with fewer sessions is taken. This is as even as comparing all of
//! them. Replicas that do not share their choices do not all choose the same node.
//!
//! With a key, the first node with room on the ring of addresses is taken. A node has room while it has less than
//! `bound` times its share of all sessions. (Mirrokni, Thorup, Zadimoghaddam: consistent hashing with bounded loads.)
//! Neither a frequent key nor a long piece of the ring exceeds that bound.
//!
//! A new node gets less at first. The new node's caches are cold, and with the fewest sessions it would otherwise get
//! every new one. The node's weight grows from 0 to 1 during the slow start. The weight is the probability of taking
//! the node when it is chosen, and scales its share.
//!
//! The weight is a node's age divided by that of the oldest ready node, or by a shorter slow start.
//! Nodes that were there when this process started are therefore not new, and one node always has the weight 1. With a
//! key, the key decides how early a node is taken, so a key moves once.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use sociable_protocol::NodeTag;

use crate::route::affinity::Affinity;
use crate::route::ring::{Ring, lot};
use crate::table::{Node, Table};

/// The share of a node that may be exceeded, if nothing else is wanted.
pub(crate) const BOUND: f64 = 1.25;
/// The slow start, if nothing else is wanted.
pub(crate) const SLOW_START: Duration = Duration::from_secs(20);
/// The number of draws of two nodes before weights are ignored.
const DRAWS: usize = 8;

/// Places new sessions. Shared by all workers.
#[derive(Debug)]
pub(crate) struct Placement {
    affinity: Affinity,
    bound: f64,
    slow_start: Duration,
    view: ArcSwap<View>,
}

/// The data that is derived from a table once.
#[derive(Debug, Default)]
struct View {
    /// The generation of the table; `None` before the first.
    generation: Option<u64>,
    /// The nodes that take sessions, by address. Of two with the same address the newer is kept, because it replaced
    /// the other.
    nodes: Vec<Arc<Node>>,
    /// The earliest and the latest arrival of these nodes.
    came: Option<(Instant, Instant)>,
    /// The ring, built for the first key, or reused from the former table if the addresses are the same. The ring's
    /// places are those of `nodes`.
    ring: OnceLock<Arc<Ring>>,
}

impl Placement {
    /// Places sessions so. A `bound` below 1 can't be kept, and means 1.
    pub(crate) fn new(affinity: Affinity, bound: f64, slow_start: Duration) -> Self {
        Self { affinity, bound: bound.max(1.0), slow_start, view: ArcSwap::default() }
    }

    /// Returns the part of a request that is the key.
    pub(crate) fn affinity(&self) -> &Affinity {
        &self.affinity
    }

    /// Returns a node for a new session, or `None` if no node takes one. The caller must
    /// [count](crate::Load::count_placement) the placement at once, for the next choice.
    #[cfg(test)]
    pub(crate) fn choose(&self, table: &Table, key: Option<&[u8]>, now: Instant) -> Option<Arc<Node>> {
        self.choose_except(&[], table, key, now)
    }

    /// Likewise, if these were tried already.
    pub(crate) fn choose_except(&self, tried: &[NodeTag], table: &Table, key: Option<&[u8]>, now: Instant) -> Option<Arc<Node>> {
        let view = self.view(table);
        let node = match key {
            Some(key) => self.by_key(&view, tried, key, now),
            None if tried.is_empty() => self.by_load(&view, now),
            // Retries are rare, and there are few other nodes.
            None => view.nodes.iter().filter(|node| !tried.contains(&node.tag)).min_by_key(|node| node.load.sessions()),
        };
        node.map(Arc::clone)
    }

    fn by_load<'a>(&self, view: &'a View, now: Instant) -> Option<&'a Arc<Node>> {
        let nodes = &view.nodes;
        if nodes.len() < 2 {
            return nodes.first();
        }
        let mut better = None;
        for _ in 0..DRAWS {
            let first = fastrand::usize(..nodes.len());
            let second = (first + fastrand::usize(1..nodes.len())) % nodes.len();
            let (mut less, mut more) = (&nodes[first], &nodes[second]);
            if more.load.sessions() < less.load.sessions() {
                (less, more) = (more, less);
            }
            let taken = [less, more].into_iter().find(|node| {
                let weight = self.weight(view, node, now);
                weight >= 1.0 || fastrand::f64() < weight
            });
            if taken.is_some() {
                return taken;
            }
            better = Some(less);
        }
        better
    }

    fn by_key<'a>(&self, view: &'a View, tried: &[NodeTag], key: &[u8], now: Instant) -> Option<&'a Arc<Node>> {
        let (mut sessions, mut weights) = (0_usize, 0.0);
        for node in &view.nodes {
            sessions = sessions.saturating_add(node.load.sessions());
            weights += self.weight(view, node, now);
        }
        let share = self.bound * (sessions as f64 + 1.0) / weights;
        let (mut late, mut full) = (None, None);
        for node in view.ring().preferred(key).filter_map(|place| view.nodes.get(place)) {
            if tried.contains(&node.tag) {
                continue;
            }
            let weight = self.weight(view, node, now);
            if node.load.sessions() as f64 >= (share * weight).ceil() {
                full = full.or(Some(node));
            } else if weight < 1.0 && lot(key, &node.address) >= weight {
                late = late.or(Some(node));
            } else {
                return Some(node);
            }
        }
        // All untried nodes are new, or full at this moment. Either is better than none.
        late.or(full)
    }

    /// Returns the weight of a node, from 0 for a new one to 1. See the [module](self).
    fn weight(&self, view: &View, node: &Node, now: Instant) -> f64 {
        let Some((first, last)) = view.came else { return 1.0 };
        if now.saturating_duration_since(last) >= self.slow_start {
            return 1.0;
        }
        let grown = now.saturating_duration_since(first).min(self.slow_start);
        let age = now.saturating_duration_since(node.since);
        if age >= grown { 1.0 } else { age.as_secs_f64() / grown.as_secs_f64() }
    }

    fn view(&self, table: &Table) -> Guard<Arc<View>> {
        let view = self.view.load();
        if view.generation == Some(table.generation()) {
            return view;
        }
        let fresh = Arc::new(View::new(table, &view));
        // A worker that still has an old table does not take the new one from the others.
        if view.generation < fresh.generation {
            self.view.store(Arc::clone(&fresh));
        }
        Guard::from_inner(fresh)
    }
}

impl View {
    fn new(table: &Table, before: &Self) -> Self {
        let mut nodes: Vec<_> = table.ready().cloned().collect();
        nodes.sort_by_key(|node| (node.address, std::cmp::Reverse(node.since)));
        nodes.dedup_by_key(|node| node.address);
        let came = nodes.iter().map(|node| node.since).min().zip(nodes.iter().map(|node| node.since).max());
        let ring = before.ring.get().filter(|ring| ring.addresses().iter().eq(nodes.iter().map(|node| &node.address)));
        let ring = ring.map_or_else(OnceLock::new, |ring| OnceLock::from(Arc::clone(ring)));
        Self { generation: Some(table.generation()), nodes, came, ring }
    }

    fn ring(&self) -> &Ring {
        self.ring.get_or_init(|| {
            let addresses: Vec<SocketAddr> = self.nodes.iter().map(|node| node.address).collect();
            Arc::new(Ring::new(addresses))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::table::{Limits, State};

    /// Long before now, so that nothing is new.
    fn past() -> Instant {
        Instant::now().checked_sub(Duration::from_secs(3_600)).unwrap()
    }

    fn node(place: u8, state: State, since: Instant) -> Node {
        Node {
            tag: NodeTag::try_from(format!("n{place:03}").as_str()).unwrap(),
            name: format!("node-{place}"),
            address: SocketAddr::from(([10, 0, 0, place], 3000)),
            state,
            limits: Limits::default(),
            since,
            load: Arc::default(),
        }
    }

    fn ready(count: u8) -> Vec<Node> {
        let since = past();
        (0..count).map(|place| node(place, State::Ready, since)).collect()
    }

    fn placement() -> Placement {
        Placement::new(Affinity::None, BOUND, SLOW_START)
    }

    /// Places so many sessions, with a key for each if given.
    fn place(placement: &Placement, table: &Table, count: u32, now: Instant, key: impl Fn(u32) -> Option<Vec<u8>>) {
        for n in 0..count {
            placement.choose(table, key(n).as_deref(), now).unwrap().load.count_placement();
        }
    }

    fn sessions(table: &Table) -> Vec<usize> {
        table.nodes().iter().map(|node| node.load.sessions()).collect()
    }

    /// Returns the most sessions of a node, divided by the average.
    fn imbalance(table: &Table) -> f64 {
        let sessions = sessions(table);
        *sessions.iter().max().unwrap() as f64 * sessions.len() as f64 / sessions.iter().sum::<usize>() as f64
    }

    fn own_key(n: u32) -> Option<Vec<u8>> {
        Some(format!("user-{n}").into_bytes())
    }

    #[test]
    fn placement_chooses_none_when_table_is_empty() {
        let empty = Table::default();
        assert!(placement().choose(&empty, None, Instant::now()).is_none());
        assert!(placement().choose(&empty, Some(b"key"), Instant::now()).is_none());
    }

    #[test]
    fn two_choices_spread_sessions_evenly() {
        let table = Table::new(ready(10), 1);
        place(&placement(), &table, 10_000, Instant::now(), |_| None);
        assert!(imbalance(&table) <= 1.05, "{:?}", sessions(&table));
    }

    #[test]
    fn two_choices_fill_the_emptier_node() {
        let table = Table::new(ready(4), 1);
        table.nodes()[0].load.set_reported(1_000);
        place(&placement(), &table, 3_000, Instant::now(), |_| None);
        assert!(imbalance(&table) <= 1.05, "{:?}", sessions(&table));
    }

    #[test]
    fn keys_are_placed_within_the_bound() {
        for count in [2, 3, 10, 40] {
            let table = Table::new(ready(count), 1);
            place(&placement(), &table, 10_000, Instant::now(), own_key);
            assert!(imbalance(&table) <= 1.26, "{:?}", sessions(&table));
        }
    }

    #[test]
    fn shared_key_is_placed_within_the_bound() {
        let table = Table::new(ready(8), 1);
        place(&placement(), &table, 4_000, Instant::now(), |_| Some(b"everybody".to_vec()));
        assert!(imbalance(&table) <= 1.26, "{:?}", sessions(&table));
    }

    #[test]
    fn bound_below_one_spreads_evenly() {
        for bound in [0.0, -1.0, f64::NAN] {
            let table = Table::new(ready(3), 1);
            place(&Placement::new(Affinity::None, bound, SLOW_START), &table, 300, Instant::now(), own_key);
            assert_eq!(sessions(&table), [100; 3]);
        }
    }

    #[test]
    fn replicas_agree_whatever_the_order_of_nodes() {
        let (one, other) = (Table::new(ready(9), 1), Table::new(ready(9).into_iter().rev(), 7));
        let (first, second) = (placement(), placement());
        for n in 0..1_000 {
            let key = own_key(n);
            let choose = |placement: &Placement, table| placement.choose(table, key.as_deref(), Instant::now()).unwrap().tag;
            assert_eq!(choose(&first, &one), choose(&second, &other));
        }
    }

    fn choices(placement: &Placement, table: &Table) -> Vec<SocketAddr> {
        (0..1_000).map(|n| placement.choose(table, own_key(n).as_deref(), Instant::now()).unwrap().address).collect()
    }

    #[test]
    fn few_keys_move_when_a_node_leaves_or_joins() {
        let placement = placement();
        let all = choices(&placement, &Table::new(ready(10), 1));
        let fewer = choices(&placement, &Table::new(ready(9), 2));
        let again = choices(&placement, &Table::new(ready(10), 3));
        let moved = all.iter().zip(&fewer).filter(|(before, after)| before != after).count();
        assert!((40..200).contains(&moved), "a tenth of 1000 is 100, not {moved}");
        assert_eq!(all, again);
    }

    #[test]
    fn restarted_node_keeps_its_keys() {
        let placement = placement();
        let before = choices(&placement, &Table::new(ready(5), 1));
        let mut nodes = ready(5);
        nodes[2].tag = "new-".parse().unwrap();
        assert_eq!(choices(&placement, &Table::new(nodes, 2)), before);
    }

    #[test]
    fn newer_node_is_chosen_when_two_share_an_address() {
        let mut nodes = ready(3);
        nodes[0].since += Duration::from_secs(1);
        nodes[1].address = nodes[0].address;
        let (older, table) = (nodes[1].tag, Table::new(nodes, 1));
        for n in 0..500 {
            for key in [None, own_key(n)] {
                assert_ne!(placement().choose(&table, key.as_deref(), Instant::now()).unwrap().tag, older);
            }
        }
    }

    #[test]
    fn only_ready_nodes_are_chosen() {
        let mut nodes = ready(6);
        for (node, state) in nodes.iter_mut().zip([State::Full, State::Draining, State::Unwell]) {
            node.state = state;
        }
        let table = Table::new(nodes, 1);
        // The load is not the reason.
        table.ready().for_each(|node| node.load.set_reported(10_000));
        place(&placement(), &table, 500, Instant::now(), |_| None);
        place(&placement(), &table, 500, Instant::now(), own_key);
        assert_eq!(sessions(&table)[..3], [0; 3]);
    }

    #[test]
    fn tried_node_is_not_chosen_again() {
        let table = Table::new(ready(3), 1);
        let placement = placement();
        for n in 0..100 {
            for key in [None, own_key(n)] {
                let mut tried = Vec::new();
                while let Some(node) = placement.choose_except(&tried, &table, key.as_deref(), Instant::now()) {
                    assert!(!tried.contains(&node.tag));
                    tried.push(node.tag);
                }
                assert_eq!(tried.len(), 3);
            }
        }
    }

    #[test]
    fn older_table_does_not_replace_the_newer() {
        let placement = placement();
        let (old, new) = (Table::new(ready(1), 1), Table::new(ready(9).split_off(8), 2));
        for table in [&new, &old, &new, &old] {
            for key in [None, own_key(1)] {
                let chosen = placement.choose(table, key.as_deref(), Instant::now()).unwrap();
                assert_eq!(chosen.tag, table.nodes()[0].tag);
            }
            assert_eq!(placement.view.load().generation, Some(2));
        }
    }

    /// Returns three old nodes with so many sessions each, and a new one.
    fn with_a_newcomer(sessions: usize) -> (Table, Instant) {
        let came = Instant::now();
        let mut nodes = ready(3);
        nodes.iter().for_each(|node| node.load.set_reported(sessions));
        nodes.push(node(3, State::Ready, came));
        (Table::new(nodes, 1), came)
    }

    #[test]
    fn new_node_starts_slowly() {
        fastrand::seed(7);
        for with_keys in [false, true] {
            let mut got = Vec::new();
            for (seconds, most) in [(0, 0), (2, 100), (10, 400), (20, 800)] {
                let (table, came) = with_a_newcomer(1_000);
                let now = came + Duration::from_secs(seconds);
                place(&placement(), &table, 1_000, now, |n| own_key(n).filter(|_| with_keys));
                got.push(sessions(&table)[3]);
                assert!(got.last().unwrap() <= &most, "after {seconds} s, with keys {with_keys}: {got:?}");
            }
            assert!(got.is_sorted() && got[1] > 0 && got[3] > 200, "with keys {with_keys}: {got:?}");
        }
    }

    #[test]
    fn shared_key_does_not_fill_a_new_node() {
        let (table, came) = with_a_newcomer(1_000);
        let now = came + SLOW_START / 2;
        let newcomer = table.nodes()[3].tag;
        let key = (0..).filter_map(own_key).find(|key| placement().choose(&table, Some(key), now).unwrap().tag == newcomer).unwrap();
        place(&placement(), &table, 2_000, now, |_| Some(key.clone()));
        // Of 5000 sessions, a half-started node may have half a share and a quarter more of that. A share is two
        // sevenths.
        assert!((800..=893).contains(&sessions(&table)[3]), "{:?}", sessions(&table));
    }

    #[test]
    fn key_moves_once_to_a_new_node() {
        let placement = placement();
        let mut last: HashMap<u32, NodeTag> = HashMap::new();
        let mut moves = HashMap::<u32, usize>::new();
        let (table, came) = with_a_newcomer(0);
        for tenths in 0..=200 {
            let now = came + Duration::from_millis(tenths * 100);
            for n in 0..200 {
                let tag = placement.choose(&table, own_key(n).as_deref(), now).unwrap().tag;
                if last.insert(n, tag).is_some_and(|before| before != tag) {
                    *moves.entry(n).or_default() += 1;
                }
            }
        }
        assert!(moves.len() > 20 && moves.values().all(|times| *times == 1), "{moves:?}");
    }

    #[test]
    fn fresh_cluster_is_even() {
        for with_keys in [false, true] {
            let started = Instant::now();
            let nodes = (0..6).map(|place| node(place, State::Ready, started + Duration::from_millis(u64::from(place) * 20)));
            let table = Table::new(nodes, 1);
            place(&placement(), &table, 6_000, started + Duration::from_secs(3), |n| own_key(n).filter(|_| with_keys));
            assert!(imbalance(&table) <= 1.3, "with keys {with_keys}: {:?}", sessions(&table));
        }
    }

    #[test]
    fn node_is_chosen_when_all_are_new() {
        let started = Instant::now();
        let nodes = (0..4).map(|place| node(place, State::Ready, started + Duration::from_secs(u64::from(place))));
        let table = Table::new(nodes, 1);
        for now in [started, started + Duration::from_millis(1), started + Duration::from_secs(1)] {
            assert!(placement().choose(&table, None, now).is_some());
            assert!(placement().choose(&table, Some(b"key"), now).is_some());
        }
    }
}
