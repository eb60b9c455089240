//! Names and meanings of the counters, for exporters.

use super::stats::NatsStats;
use crate::CounterSample;

/// A counter for exporters.
struct Counter {
    name: &'static str,
    help: &'static str,
    /// The label; empty if there is one sample.
    label: &'static str,
    /// The value of the label, and the field of [`NatsStats`].
    parts: &'static [(&'static str, &'static str)],
}

const fn single(name: &'static str, help: &'static str, parts: &'static [(&'static str, &'static str)]) -> Counter {
    Counter { name, help, label: "", parts }
}

const COUNTERS: [Counter; 22] = [
    single("envelopes_sent", "Envelopes sent to other nodes. Each holds one or more records.", &[("", "sent")]),
    single("envelopes_received", "Envelopes received from other nodes.", &[("", "received")]),
    single("envelopes_unsent", "Envelopes that the connection to NATS failed to send.", &[("", "unsent")]),
    Counter {
        name: "records_dropped",
        help: "Records that do not reach other nodes, by reason.",
        label: "reason",
        parts: &[
            ("queue_full", "refused"),
            ("too_large", "too_large"),
            ("deadline", "late"),
            ("volatile", "volatile_dropped"),
            ("not_persisted", "not_kept"),
        ],
    },
    single("gaps", "Envelopes of other nodes that were lost or could not be decoded.", &[("", "gaps")]),
    single("malformed_messages", "Envelopes and records that could not be decoded.", &[("", "malformed")]),
    single("slow_consumer_events", "Times the NATS client dropped messages because this node read too slowly.", &[("", "slow_consumer")]),
    single("server_errors", "Errors reported by the NATS server, such as missing permissions.", &[("", "server_errors")]),
    single("disconnects", "Lost connections to NATS.", &[("", "disconnected")]),
    single("nodes_lost", "Nodes that fell silent without a farewell.", &[("", "lost_nodes")]),
    single("requests_refused", "Requests of other nodes refused because too many were being answered.", &[("", "unanswered")]),
    single("answers_too_large", "Answers left out because they exceed the payload limit of NATS.", &[("", "answers_too_large")]),
    single("messages_persisted", "Messages that JetStream confirmed as persisted.", &[("", "kept")]),
    single("persist_retries", "Messages published to JetStream again because no confirmation came.", &[("", "kept_again")]),
    single("records_unpersisted", "Records that JetStream refused to persist, sent to the live nodes alone.", &[("", "unkept")]),
    single("resyncs", "Times the shared history was read from the stream because messages did not arrive.", &[("", "resynced")]),
    Counter {
        name: "session_saves",
        help: "Saves of sessions to JetStream, by outcome.",
        label: "outcome",
        parts: &[("saved", "sessions_saved"), ("failed", "sessions_unsaved"), ("fenced", "fenced")],
    },
    single("incompatible_nodes", "Nodes seen with another JetStream setting or wire format.", &[("", "disagreeing")]),
    single("forged_announcements", "Announcements in the name of this node that another process sent.", &[("", "spoken_for")]),
    single("events_outside_history", "Events that an emitter sent past the shared history.", &[("", "not_for_history")]),
    single("trace_contexts_dropped", "Trace contexts left out because they exceed the bound of an envelope.", &[("", "traces_left_out")]),
    single("task_restarts", "Restarts of tasks of the adapter that died.", &[("", "restarted")]),
];

/// Returns all counters as samples.
pub(super) fn samples(stats: &NatsStats) -> Vec<CounterSample> {
    let value = |field: &str| stats.iter().find(|(known, _)| *known == field).map_or(0, |(_, value)| value);
    let of = |counter: &'static Counter| {
        counter.parts.iter().map(move |(part, field)| CounterSample {
            name: counter.name,
            help: counter.help,
            label: (!counter.label.is_empty()).then_some((counter.label, *part)),
            value: value(field),
        })
    };
    COUNTERS.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_exported_once() {
        let stats = NatsStats::default();
        let mut fields: Vec<_> = stats.iter().map(|(name, _)| name).collect();
        let mut exported: Vec<_> = COUNTERS.iter().flat_map(|counter| counter.parts).map(|(_, field)| *field).collect();
        fields.sort_unstable();
        exported.sort_unstable();
        assert_eq!(exported, fields);
        assert_eq!(samples(&stats).len(), fields.len());
    }

    #[test]
    fn labels_tell_the_samples_of_a_counter_apart() {
        let samples = samples(&NatsStats { late: 3, not_kept: 4, ..NatsStats::default() });
        let dropped =
            |reason| samples.iter().find(|it| it.name == "records_dropped" && it.label == Some(("reason", reason))).unwrap().value;
        assert_eq!((dropped("deadline"), dropped("not_persisted"), dropped("volatile")), (3, 4, 0));
    }
}
