//! Connection state recovery: a client whose connection was lost comes back as the socket that it was.
//!
//! While recovery is on, each event that is sent without an acknowledgement, and is not volatile, gets a place in the [`History`], and its
//! place travels with it as the last argument. On every thread such events are delivered in the order of their places, so that a client's
//! last place tells all that it has. A session that is lost is saved with its rooms, its data and the place up to which it was served.

pub(crate) mod options;
pub(crate) mod progress;
pub(crate) mod registry;
pub(crate) mod resume;
