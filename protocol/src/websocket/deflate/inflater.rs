//! Inbound messages: inflated within a bound.

use std::cell::Cell;

use bytes::Bytes;
use zlib_rs::{Inflate, InflateFlush, Status};

use super::{Agreement, MAX_WINDOW_BITS, SCRATCH, TRAILER};
use crate::websocket::error::FrameError;

/// The memory of a client's context: its window and the tables of the inflater. The window is the largest part, and no more than 32 KiB.
pub const CONTEXT_BYTES: usize = 48 * 1024;

/// The smallest window of an inflater.
const MIN_WINDOW: u8 = 9;

/// An empty final block. A deflate stream that is complete before it ends with it.
const FINAL_BLOCK: [u8; 5] = [1, 0, 0, 0xFF, 0xFF];

/// The state of a thread for messages that are compressed alone.
struct Pool {
    inflate: Inflate,
    scratch: Box<[u8]>,
}

thread_local! {
    static POOL: Cell<Option<Box<Pool>>> = const { Cell::new(None) };
}

/// The inflater of one client's messages.
#[derive(Debug)]
pub(crate) struct Inflater {
    agreement: Agreement,
    /// The context of the client's messages, if the client may use earlier ones. Created by the first compressed message.
    context: Option<Box<Context>>,
}

struct Context(Inflate);

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Context")
    }
}

impl Inflater {
    pub(crate) fn new(agreement: Agreement) -> Self {
        Self { agreement, context: None }
    }

    /// Returns the memory of the context.
    pub(crate) fn context_bytes(&self) -> usize {
        if self.context.is_some() { CONTEXT_BYTES } else { 0 }
    }

    /// Inflates a message of at most `limit` bytes.
    pub(crate) fn inflate(&mut self, payload: &[u8], limit: usize) -> Result<Bytes, FrameError> {
        let mut pool = POOL.take().unwrap_or_else(|| {
            Box::new(Pool { inflate: Inflate::new(false, MAX_WINDOW_BITS), scratch: vec![0; SCRATCH].into_boxed_slice() })
        });
        let Pool { inflate, scratch } = &mut *pool;
        let message = if self.agreement.client_no_context_takeover {
            let message = inflate_alone(inflate, payload, limit, scratch);
            inflate.reset(false);
            message
        } else {
            let bits = self.agreement.client_window_bits.max(MIN_WINDOW);
            let context = self.context.get_or_insert_with(|| Box::new(Context(Inflate::new(false, bits))));
            let mut out = Vec::new();
            let mut run = |input| inflate_some(&mut context.0, input, limit, scratch, &mut out);
            match run(payload) {
                Ok(true) => Ok(out),
                Ok(false) => run(&TRAILER).map(|_| out),
                Err(error) => Err(error),
            }
        };
        POOL.set(Some(pool));
        Ok(message?.into())
    }
}

/// Inflates a message that has to be complete.
fn inflate_alone(inflate: &mut Inflate, payload: &[u8], limit: usize, scratch: &mut [u8]) -> Result<Vec<u8>, FrameError> {
    let mut out = Vec::new();
    // After a final block, clients may leave out the rest.
    if !inflate_some(inflate, payload, limit, scratch, &mut out)? {
        inflate_some(inflate, &TRAILER, limit, scratch, &mut out)?;
        if !inflate_some(inflate, &FINAL_BLOCK, limit, scratch, &mut out)? {
            return Err(FrameError::BadDeflate);
        }
    }
    Ok(out)
}

/// Inflates part of a message. Returns whether a stream ended with the input.
fn inflate_some(inflate: &mut Inflate, mut input: &[u8], limit: usize, scratch: &mut [u8], out: &mut Vec<u8>) -> Result<bool, FrameError> {
    loop {
        let before = (inflate.total_in(), inflate.total_out());
        let status = inflate.decompress(input, scratch, InflateFlush::SyncFlush).map_err(|_| FrameError::BadDeflate)?;
        let (used, made) = ((inflate.total_in() - before.0) as usize, (inflate.total_out() - before.1) as usize);
        input = &input[used..];
        if made > limit.saturating_sub(out.len()) {
            return Err(FrameError::InflatedTooLarge { limit });
        }
        out.extend_from_slice(&scratch[..made]);
        match status {
            Status::StreamEnd => {
                inflate.reset(false);
                if input.is_empty() {
                    return Ok(true);
                }
            }
            // More may be waiting.
            _ if made == scratch.len() => {}
            _ if input.is_empty() => return Ok(false),
            _ if used == 0 && made == 0 => return Err(FrameError::BadDeflate),
            _ => {}
        }
    }
}
