//! Frames for several sockets.

use sociable_adapter::Target;
use sociable_engine::layer::EngineState;
use sociable_protocol::Frames;

/// Returns frames for the sockets of a target on this node. If several sockets may get them compressed, they share the compressed form.
pub(crate) fn for_sockets(engine: &EngineState, target: &Target, compress: bool, frames: &Frames) -> Frames {
    let shares = compress && engine.config().per_message_deflate.is_some() && target.socket().is_none();
    if shares { frames.clone().sharing() } else { frames.clone() }
}
