//! Compression of response bodies, with the feature `compression`. Without it bodies go out as they are.

use std::io;
#[cfg(feature = "compression")]
use std::io::Write;

use bytes::Bytes;
#[cfg(feature = "compression")]
use flate2::Compression;
#[cfg(feature = "compression")]
use flate2::write::{GzEncoder, ZlibEncoder};

/// The window and the effort of Brotli. More effort delays the start much and shrinks the files little.
#[cfg(feature = "compression")]
const BROTLI: (u32, u32) = (22, 9);

/// Returns a body of one response in the first of these codings that the client accepts.
pub(super) fn compress_once(body: &[u8], accepts: impl Fn(&str) -> bool) -> Option<(&'static str, Vec<u8>)> {
    #[cfg(feature = "compression")]
    {
        if accepts("gzip") {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(body).ok()?;
            return Some(("gzip", encoder.finish().ok()?));
        }
        if accepts("deflate") {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(body).ok()?;
            return Some(("deflate", encoder.finish().ok()?));
        }
    }
    let _ = (body, accepts);
    None
}

/// Returns a file in each coding, small rather than quick.
///
/// # Errors
///
/// An encoder fails.
#[cfg(feature = "compression")]
pub(super) fn compress_file(plain: &[u8]) -> io::Result<Vec<(&'static str, Bytes)>> {
    let (window, effort) = BROTLI;
    let mut br = brotli::CompressorWriter::new(Vec::new(), 4096, effort, window);
    br.write_all(plain)?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(plain)?;
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::default());
    deflate.write_all(plain)?;
    Ok(vec![("br", br.into_inner().into()), ("gzip", gzip.finish()?.into()), ("deflate", deflate.finish()?.into())])
}

/// Returns no coding: there is no encoder.
#[cfg(not(feature = "compression"))]
pub(super) fn compress_file(_plain: &[u8]) -> io::Result<Vec<(&'static str, Bytes)>> {
    Ok(vec![])
}
