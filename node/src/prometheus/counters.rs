//! Names and meanings of the counters of a node.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use sociable_metrics::encode;

use crate::stats::Stats;

/// A counter without labels.
struct Single {
    name: &'static str,
    help: &'static str,
    /// The field of [`Stats`].
    field: &'static str,
}

/// A counter with a sample for each value of its label.
struct Family {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    /// The value of the label, and the field of [`Stats`].
    parts: &'static [(&'static str, &'static str)],
}

const fn single(name: &'static str, help: &'static str, field: &'static str) -> Single {
    Single { name, help, field }
}

const SINGLES: [Single; 19] = [
    single("sessions_opened", "Sessions opened.", "sessions_opened"),
    single("sessions_refused", "Sessions refused because the node is at capacity.", "sessions_refused"),
    single("sockets_opened", "Sockets that joined a namespace.", "sockets_opened"),
    single("messages_received", "Engine.IO messages received from clients.", "messages_in"),
    single("messages_sent", "Engine.IO messages queued for clients. A broadcast counts once per receiver.", "messages_out"),
    single("received_bytes", "Payload bytes of the messages received.", "bytes_in"),
    single("sent_bytes", "Payload bytes of the messages queued for clients.", "bytes_out"),
    single("messages_compressed", "Messages sent compressed on WebSockets. A broadcast counts once per receiver.", "messages_deflated"),
    single("compressions", "Messages that were compressed. A broadcast counts once.", "deflations"),
    single("compression_saved_bytes", "Payload bytes that compression has saved on WebSockets.", "deflate_bytes_saved"),
    single(
        "inflated_too_large",
        "Sessions closed because a compressed message was longer than max_http_buffer_size.",
        "inflated_too_large",
    ),
    single("requests_refused", "Requests answered with an Engine.IO error.", "requests_refused"),
    single("origins_refused", "Requests refused because of their origin.", "origins_refused"),
    single("connections_shed", "Connections refused because the process is at its limit.", "connections_shed"),
    single("connect_errors", "Connections to a namespace answered with a connect error.", "connections_refused"),
    single("namespaces_evicted", "Empty dynamic namespaces removed to make room for others.", "namespaces_evicted"),
    single("acks_timed_out", "Acknowledgements that did not arrive in time.", "acks_timed_out"),
    single("acks_unexpected", "Acknowledgements that no emit waited for.", "acks_unexpected"),
    single("task_panics", "Calls from other threads that panicked.", "tasks_panicked"),
];

const FAMILIES: [Family; 8] = [
    Family {
        name: "sessions_closed",
        help: "Sessions closed, by reason.",
        label: "reason",
        parts: &[
            ("transport_close", "transport_closes"),
            ("protocol_error", "protocol_errors"),
            ("ping_timeout", "ping_timeouts"),
            ("parse_error", "parse_errors"),
            ("forced_close", "forced_closes"),
            ("forced_server_close", "forced_server_closes"),
            ("slow_client", "slow_clients"),
            ("shutdown", "shutdown_closes"),
            ("session_failed", "sessions_failed"),
        ],
    },
    Family {
        name: "sockets_closed",
        help: "Sockets that left their namespace, by reason.",
        label: "reason",
        parts: &[
            ("client_disconnect", "client_disconnects"),
            ("server_disconnect", "server_disconnects"),
            ("session_closed", "session_disconnects"),
            ("socket_failed", "sockets_failed"),
        ],
    },
    Family {
        name: "sockets_revoked",
        help: "Sockets disconnected by recovery, by reason.",
        label: "reason",
        parts: &[("fenced", "sessions_fenced"), ("events_lost", "sessions_voided")],
    },
    Family {
        name: "upgrades",
        help: "Upgrades from polling to WebSocket, by outcome.",
        label: "outcome",
        parts: &[("completed", "upgraded"), ("failed", "upgrades_failed")],
    },
    Family {
        name: "events",
        help: "Events of clients, by outcome. Each handler counts; an event without one counts once.",
        label: "outcome",
        parts: &[
            ("handled", "events_handled"),
            ("unheard", "events_unheard"),
            ("refused", "events_refused"),
            ("bad_arguments", "bad_arguments"),
            ("failed", "handler_errors"),
            ("panicked", "handler_panics"),
        ],
    },
    Family {
        name: "packets_dropped",
        help: "Packets dropped before they reached a client's outbox, by reason.",
        label: "reason",
        parts: &[("volatile", "volatile_dropped"), ("inbox_full", "inbox_full")],
    },
    Family {
        name: "recoveries",
        help: "Clients that asked to resume a session, by outcome.",
        label: "outcome",
        parts: &[("recovered", "recovered"), ("unknown", "recoveries_unknown"), ("incomplete", "recoveries_incomplete")],
    },
    Family {
        name: "limit_hits",
        help: "Times a client exceeded a limit, by the option that sets it.",
        label: "limit",
        parts: &[
            ("http_request_body_timeout", "bodies_late"),
            ("linger", "lingers_cut"),
            ("max_auth_bytes", "auth_too_large"),
            ("max_dynamic_namespaces", "namespaces_refused"),
            ("max_handshake_bytes", "handshakes_truncated"),
            ("max_http_buffer_size", "bodies_too_large"),
            ("max_pending_sessions", "pending_evicted"),
            ("max_private_rooms", "private_joins_refused"),
            ("max_session", "sessions_too_large"),
            ("max_session_memory", "packets_over_budget"),
            ("max_unread", "unread_over_budget"),
            ("packet_timeout", "packets_overdue"),
        ],
    },
];

/// Fields that are sums of others: exporters show the parts.
#[cfg(test)]
const SUMS: [&str; 3] = ["sockets_closed", "actors_died", "actors_restarted"];

/// Writes all counters.
pub(super) fn counters(encoder: &mut DescriptorEncoder<'_>, stats: &Stats) -> fmt::Result {
    let value = |field: &str| stats.counters().find(|(known, _)| *known == field).map_or(0, |(_, value)| value);
    for Single { name, help, field } in SINGLES {
        encode::counter(encoder, name, help, value(field))?;
    }
    for Family { name, help, label, parts } in FAMILIES {
        encode::counters(encoder, name, help, label, parts.iter().map(|(part, field)| (*part, value(field))))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_exported_once() {
        let stats = Stats::default();
        let mut fields: Vec<_> = stats.counters().map(|(name, _)| name).collect();
        let parts = FAMILIES.iter().flat_map(|family| family.parts).map(|(_, field)| *field);
        let mut exported: Vec<_> = SINGLES.iter().map(|single| single.field).chain(parts).chain(SUMS).collect();
        fields.sort_unstable();
        exported.sort_unstable();
        assert_eq!(exported, fields);
    }
}
