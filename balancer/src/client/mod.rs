//! The client: its address, when proxies stand before the balancer.

pub(crate) mod forwarded;
pub(crate) mod network;
pub(crate) mod proxy_protocol;
