//! The bounds: on rates, connections, descriptors, wrong session ids and waiting bytes.

pub(crate) mod addresses;
pub(crate) mod descriptors;
pub(crate) mod guesses;
pub(crate) mod rate;
pub(crate) mod waiting;
