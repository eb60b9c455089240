//! Restores the order of envelopes that came on several subscriptions.
//!
//! The connection brings the envelopes of one publisher in their order. But the client has a queue for each
//! subscription, and does not record which of two queues was filled first.
//!
//! All queues are therefore drained in one go. The client fills none meanwhile, because both are on one thread. Each
//! predecessor of a drained envelope is then among them too, or has been handled. The numbers of the publishers give
//! the order.

use std::collections::VecDeque;

use sociable_protocol::maps::Map;

use super::wire::{Head, Publisher};

/// An envelope that has come on a subscription.
#[derive(Debug)]
pub(crate) struct Arrival<T> {
    pub(crate) subscription: usize,
    pub(crate) head: Head,
    pub(crate) rest: T,
}

/// Orders envelopes so that neither two of one publisher nor two of one subscription change places.
pub(crate) fn in_order<T>(heap: Vec<Arrival<T>>) -> Vec<Arrival<T>> {
    let Some(first) = heap.first() else { return heap };
    if heap.iter().all(|arrival| arrival.subscription == first.subscription) {
        return heap;
    }
    // The orders of each publisher, the lowest last.
    let mut due: Map<Publisher, Vec<u64>> = Map::default();
    let mut queues: Vec<(usize, VecDeque<Arrival<T>>)> = vec![];
    let (mut places, total) = (Map::default(), heap.len());
    for arrival in heap {
        due.entry(arrival.head.publisher).or_default().push(arrival.head.order);
        let place = *places.entry(arrival.subscription).or_insert_with(|| {
            queues.push((arrival.subscription, VecDeque::new()));
            queues.len() - 1
        });
        queues[place].1.push_back(arrival);
    }
    due.values_mut().for_each(|orders| orders.sort_unstable_by(|a, b| b.cmp(a)));
    let mut ordered = Vec::with_capacity(total);
    let take = |ordered: &mut Vec<_>, due: &mut Map<Publisher, Vec<u64>>, arrival: Arrival<T>| {
        if let Some(orders) = due.get_mut(&arrival.head.publisher) {
            orders.pop();
        }
        ordered.push(arrival);
    };
    while ordered.len() < total {
        let before = ordered.len();
        for (_, queue) in &mut queues {
            let is_due =
                |arrival: &mut Arrival<T>| due.get(&arrival.head.publisher).and_then(|orders| orders.last()) == Some(&arrival.head.order);
            if let Some(arrival) = queue.pop_front_if(is_due) {
                take(&mut ordered, &mut due, arrival);
            }
        }
        if ordered.len() == before {
            // Numbers that contradict the connection are foreign. The first envelope is as good as any.
            if let Some(arrival) = queues.iter_mut().find_map(|(_, queue)| queue.pop_front()) {
                take(&mut ordered, &mut due, arrival);
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sociable_protocol::NodeTag;

    use super::*;

    fn arrival(subscription: usize, publisher: Publisher, order: u64) -> Arrival<()> {
        Arrival { subscription, head: Head { publisher, order, sequence: 0 }, rest: () }
    }

    #[test]
    fn in_order_keeps_all_envelopes_with_odd_numbers() {
        let me = Publisher { tag: NodeTag::random(), epoch: 1 };
        let heap = vec![arrival(0, me, 5), arrival(0, me, 1), arrival(1, me, 5), arrival(1, me, 3), arrival(1, me, 3)];
        assert_eq!(in_order(heap).len(), 5);
    }

    proptest! {
        /// Envelopes are dealt to subscriptions, and read one subscription after the other.
        #[test]
        fn in_order_restores_publishers_and_subscriptions(sent in prop::collection::vec((0..3usize, 0..4usize), 0..200)) {
            let publishers: Vec<_> = (0..3).map(|epoch| Publisher { tag: NodeTag::random(), epoch }).collect();
            let mut orders = [0; 3];
            let mut queues: Vec<Vec<Arrival<usize>>> = (0..4).map(|_| vec![]).collect();
            for (at, (publisher, subscription)) in sent.iter().enumerate() {
                orders[*publisher] += 1;
                let head = Head { publisher: publishers[*publisher], order: orders[*publisher], sequence: 0 };
                queues[*subscription].push(Arrival { subscription: *subscription, head, rest: at });
            }
            let ordered = in_order(queues.into_iter().flatten().collect());
            prop_assert_eq!(ordered.len(), sent.len());
            for publisher in &publishers {
                prop_assert!(ordered.iter().filter(|arrival| arrival.head.publisher == *publisher).is_sorted_by_key(|arrival| arrival.head.order));
            }
            for subscription in 0..4 {
                prop_assert!(ordered.iter().filter(|arrival| arrival.subscription == subscription).is_sorted_by_key(|arrival| arrival.rest));
            }
        }
    }
}
