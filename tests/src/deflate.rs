//! The compression of messages as another implementation does it.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::{Frame, masked};

const TRAILER: [u8; 4] = [0, 0, 0xff, 0xff];

/// A client that compresses messages and keeps the contexts of both directions, unless they are reset.
#[derive(Debug)]
pub struct Deflating {
    compress: Compress,
    decompress: Decompress,
}

impl Default for Deflating {
    fn default() -> Self {
        Self { compress: Compress::new(Compression::default(), false), decompress: Decompress::new(false) }
    }
}

impl Deflating {
    /// Returns a compressed payload.
    pub fn deflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() + 1000);
        self.compress.compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
        assert!(out.ends_with(&TRAILER));
        out.truncate(out.len() - 4);
        out
    }

    /// Returns a compressed text message as a client sends it.
    pub fn text(&mut self, text: &str) -> Vec<u8> {
        masked(0xc1, self.deflate(text.as_bytes()))
    }

    /// Returns the text of a frame, which has to be compressed.
    #[track_caller]
    pub fn inflate(&mut self, frame: &Frame) -> String {
        let Frame::Deflated(payload) = frame else { panic!("not compressed: {frame:?}") };
        let input = [payload, &TRAILER[..]].concat();
        let mut out = Vec::with_capacity(4_000_000);
        self.decompress.decompress_vec(&input, &mut out, FlushDecompress::Sync).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Ends the context of both directions, as before each message that is compressed alone.
    pub fn reset(&mut self) {
        self.compress.reset();
        self.decompress.reset(false);
    }
}
