//! Outbound messages: compressed alone by the compressors of a thread, or in the context of one client.

use std::cell::RefCell;

use bytes::Bytes;
use zlib_rs::{Deflate, DeflateConfig, DeflateError, DeflateFlush};

use super::{SCRATCH, TRAILER};
use crate::websocket::header::{Frame, frame_header, raw_frames};
use crate::websocket::{MAX_HEADER, RSV1};

/// The smallest window of a compressor.
const MIN_WINDOW: u8 = 9;
/// The bytes that fit into a window of 8 bits. Longer messages are compressed in pieces that do not refer to each other.
const SMALLEST_WINDOW_BYTES: usize = 256;
/// The most compressors of a thread: one for each window size of one server.
const MAX_POOLED: usize = 7;

/// The settings of a server for compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The length in bytes from which a message is compressed alone.
    pub threshold: usize,
    /// The effort, from 0 (none) to 9 (most).
    pub level: u8,
    /// The memory of a compressor besides its window, from 1 to 9.
    pub memory_level: u8,
}

/// A compressor, and the form in which it is pooled.
struct Compressor {
    deflate: Deflate,
    settings: (u8, u8, u8),
}

thread_local! {
    static POOL: RefCell<Vec<Compressor>> = const { RefCell::new(Vec::new()) };
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Compresses a message of these frames alone, for a window. Returns `None` if no frame gets shorter.
pub(crate) fn deflate_alone(frames: &[u8], settings: &Settings, window_bits: u8) -> Option<Bytes> {
    let key = (window_bits, settings.level, settings.memory_level);
    let mut compressor = POOL.with_borrow_mut(|pool| match pool.iter().position(|compressor| compressor.settings == key) {
        Some(place) => pool.swap_remove(place),
        None => Compressor { deflate: new_deflate(settings, window_bits), settings: key },
    });
    let mut shorter = false;
    let deflated = each_frame(frames, |frame, out| {
        if frame.payload.len() < settings.threshold {
            return false;
        }
        let begin = out.len();
        let done = compress(&mut compressor.deflate, frame.payload, window_bits, out).is_ok();
        compressor.deflate.reset();
        let pays = done && out.len() - begin < frame.payload.len();
        shorter |= pays;
        pays
    });
    POOL.with_borrow_mut(|pool| {
        if pool.len() >= MAX_POOLED {
            pool.remove(0);
        }
        pool.push(compressor);
    });
    shorter.then_some(deflated)
}

/// A compressor for the messages of one client. Each message may refer to those before it.
pub struct ContextDeflater {
    deflate: Deflate,
    window_bits: u8,
    /// True if the client has received a message that this compressor does not know.
    stale: bool,
}

impl std::fmt::Debug for ContextDeflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContextDeflater").field("window_bits", &self.window_bits).finish_non_exhaustive()
    }
}

impl ContextDeflater {
    /// Returns a compressor for a window of 8 to 15 bits.
    pub fn new(settings: &Settings, window_bits: u8) -> Self {
        Self { deflate: new_deflate(settings, window_bits), window_bits, stale: false }
    }

    /// Returns the memory of such a compressor, in bytes: its window twice, the tables of matches, and the pending output.
    pub fn bytes(settings: &Settings, window_bits: u8) -> usize {
        let window = 1 << window_bits.max(MIN_WINDOW);
        const HASHES: usize = 128 * 1024;
        const STATE: usize = 8 * 1024;
        STATE + HASHES + 4 * window + (1 << (settings.memory_level + 6)) * 7
    }

    /// Notes that the client has received a message compressed alone. The next message does not refer to earlier ones.
    ///
    /// The distances to them would be wrong: the window of the client has the message, this one has not.
    pub fn break_context(&mut self) {
        self.stale = true;
    }

    /// Compresses all frames of a message. `None` if the compressor fails, and the message has to be sent as it is.
    pub fn deflate(&mut self, frames: &[u8]) -> Option<Bytes> {
        if std::mem::take(&mut self.stale) {
            self.deflate.reset();
        }
        let mut failed = false;
        let deflated = each_frame(frames, |frame, out| {
            failed |= compress(&mut self.deflate, frame.payload, self.window_bits, out).is_err();
            !failed
        });
        self.stale = failed;
        (!failed).then_some(deflated)
    }
}

fn new_deflate(settings: &Settings, window_bits: u8) -> Deflate {
    Deflate::new_with_config(DeflateConfig {
        window_bits: -i32::from(window_bits.max(MIN_WINDOW)),
        mem_level: settings.memory_level.into(),
        ..DeflateConfig::new(settings.level.into())
    })
}

/// Rewrites frames. `compress` appends the compressed payload of a frame to the buffer; a frame for which it returns false stays as it is.
fn each_frame(frames: &[u8], mut compress: impl FnMut(&Frame<'_>, &mut Vec<u8>) -> bool) -> Bytes {
    // Grown in a buffer of the thread, so that the result takes no more memory than its length.
    BUFFER.with_borrow_mut(|out| {
        out.clear();
        for frame in raw_frames(frames) {
            let begin = out.len();
            out.extend_from_slice(&[0; MAX_HEADER]);
            let start = out.len();
            if compress(&frame, out) {
                let (header, length) = frame_header(RSV1 | frame.opcode, out.len() - start);
                out[begin..begin + length].copy_from_slice(&header[..length]);
                out.drain(begin + length..start);
            } else {
                out.truncate(begin);
                out.extend_from_slice(frame.whole);
            }
        }
        let whole = Bytes::copy_from_slice(out);
        if out.capacity() > MAX_BUFFER {
            *out = Vec::new();
        }
        whole
    })
}

/// The most memory that the buffer of a thread keeps.
const MAX_BUFFER: usize = 256 * 1024;

/// Appends a compressed payload without its trailer.
fn compress(deflate: &mut Deflate, payload: &[u8], window_bits: u8, out: &mut Vec<u8>) -> Result<(), DeflateError> {
    // The compressor flushes nothing if nothing is new.
    if payload.is_empty() {
        out.push(0);
        return Ok(());
    }
    if window_bits < MIN_WINDOW {
        for piece in payload.chunks(SMALLEST_WINDOW_BYTES) {
            flush(deflate, piece, DeflateFlush::FullFlush, out)?;
        }
    } else {
        flush(deflate, payload, DeflateFlush::SyncFlush, out)?;
    }
    if out.ends_with(&TRAILER) {
        out.truncate(out.len() - TRAILER.len());
    }
    Ok(())
}

/// Appends the whole output for an input.
fn flush(deflate: &mut Deflate, mut input: &[u8], flush: DeflateFlush, out: &mut Vec<u8>) -> Result<(), DeflateError> {
    let mut scratch = [0; SCRATCH];
    loop {
        let before = (deflate.total_in(), deflate.total_out());
        deflate.compress(input, &mut scratch, flush)?;
        let (used, made) = ((deflate.total_in() - before.0) as usize, (deflate.total_out() - before.1) as usize);
        input = &input[used..];
        out.extend_from_slice(&scratch[..made]);
        // A full buffer may leave output behind.
        if made < scratch.len() && (input.is_empty() || used == 0) {
            return Ok(());
        }
    }
}
