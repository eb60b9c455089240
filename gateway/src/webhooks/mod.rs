//! Webhooks: requests to backends about connections and events.
