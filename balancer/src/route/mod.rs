//! Routes: which node a request is for.

pub(crate) mod affinity;
pub(crate) mod placement;
pub(crate) mod ring;
pub(crate) mod target;
