//! Outbound control frames.

use super::{CLOSE, FIN, MAX_CONTROL, PONG};

/// A close frame without a status, as the JavaScript server sends it.
pub const CLOSE_FRAME: &[u8] = &[FIN | CLOSE, 0];

/// Returns a close frame with a status code.
pub fn close_frame(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [FIN | CLOSE, 2, high, low]
}

/// Returns a pong frame with the payload of a ping, cut to the 125 bytes of a control frame.
pub fn pong_frame(payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(MAX_CONTROL)];
    let mut frame = vec![FIN | PONG, payload.len() as u8];
    frame.extend_from_slice(payload);
    frame
}
