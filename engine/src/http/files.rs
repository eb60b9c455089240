//! Compressed files served beside the engine, such as those of a client for a page on the same server.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_http::header::{self, HeaderValue};
use actix_http::{Method, RequestHead, StatusCode};
use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use bytes::Bytes;
use thiserror::Error;

use super::coding::weighted;
use super::compression::compress_file;
use super::headers::header_list;
use super::respond::decorate;
use crate::handshake::Handshake;
use crate::state::EngineState;

/// The longest accepted file, in bytes: ten times today's longest.
const MAX_FILE: u64 = 4 << 20;

/// Files in memory, each with its compressed forms.
#[derive(Debug)]
pub struct ServedFiles {
    /// The version, which all files share.
    etag: HeaderValue,
    files: Vec<ServedFile>,
}

#[derive(Debug)]
struct ServedFile {
    name: &'static str,
    plain: Bytes,
    coded: Coded,
}

/// A file in each coding. Without the feature `compression`, there is none.
#[derive(Debug)]
struct Coded(Vec<(&'static str, Bytes)>);

/// The error of files that cannot be served.
#[derive(Debug, Error)]
#[error("{}: {what}", .folder.display())]
pub struct ServedFilesError {
    folder: PathBuf,
    what: String,
}

impl ServedFiles {
    /// Reads and compresses the files of these names in a folder. Missing files are not served.
    ///
    /// `version` finds the version in a file, which becomes the entity tag of all. `missing` is the error text if no file has one.
    ///
    /// # Errors
    ///
    /// A file cannot be read or is too long, or none of them has a version.
    pub fn read(
        folder: &Path,
        names: &[&'static str],
        version: impl Fn(&[u8]) -> Option<&str>,
        missing: &str,
    ) -> Result<Self, ServedFilesError> {
        let wrong = |what: String| ServedFilesError { folder: folder.to_owned(), what };
        let mut files = vec![];
        for &name in names {
            match read_bounded(&folder.join(name)) {
                Ok(plain) => {
                    let coded = Coded::of(&plain).map_err(|error| wrong(format!("{name}: {error}")))?;
                    files.push(ServedFile { name, plain: plain.into(), coded });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(wrong(format!("{name}: {error}"))),
            }
        }
        let version = files.iter().find_map(|file| version(&file.plain));
        let version = version.ok_or_else(|| wrong(missing.into()))?;
        let etag = HeaderValue::try_from(format!("\"{version}\"")).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { etag, files })
    }

    /// Returns the response, if the request asks for one of the files.
    pub(super) fn answer(
        &self,
        engine: &Arc<EngineState>,
        head: &RequestHead,
        handshake: impl FnOnce() -> Handshake,
    ) -> Option<HttpResponse> {
        if head.method != Method::GET && head.method != Method::HEAD {
            return None;
        }
        let name = head.uri.path().strip_prefix(&*engine.config.path)?.trim_start_matches('/');
        let file = self.files.iter().find(|file| file.name == name)?;
        let known = header_list(head, header::IF_NONE_MATCH).is_some_and(|tags| self.matches(&tags));
        let mut response = HttpResponse::new(if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=0"));
        headers.insert(header::ETAG, self.etag.clone());
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        decorate(engine, head, handshake, headers, false);
        if known {
            return Some(response);
        }
        let kind = if name.ends_with(".map") { "application/json; charset=utf-8" } else { "application/javascript; charset=utf-8" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        let accepted = header_list(head, header::ACCEPT_ENCODING).unwrap_or_default();
        let body = match file.coded.preferred(&accepted) {
            Some((coding, body)) => {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
                body
            }
            None => &file.plain,
        };
        Some(response.set_body(BoxBody::new(body.clone())))
    }

    /// Returns whether the client has the files already.
    fn matches(&self, tags: &str) -> bool {
        let mut tags = tags.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
        tags.any(|tag| tag == "*" || tag.as_bytes() == self.etag.as_bytes())
    }
}

impl Coded {
    fn of(plain: &[u8]) -> io::Result<Self> {
        compress_file(plain).map(Self)
    }

    /// Returns the coding that the client prefers. Among equal ones, the first in its list wins.
    fn preferred(&self, accepted: &str) -> Option<(&'static str, &Bytes)> {
        let mut best = (0.0, None);
        let named = |coding: &str| accepted.split(',').any(|part| weighted(part).0.eq_ignore_ascii_case(coding));
        for (name, weight) in accepted.split(',').map(weighted) {
            // A star stands for all codings that are not named.
            let coding = self.0.iter().find(|(coding, _)| name.eq_ignore_ascii_case(coding) || name == "*" && !named(coding));
            if coding.is_some() && weight > best.0 {
                best = (weight, coding.map(|(coding, body)| (*coding, body)));
            }
        }
        best.1
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "compression")]
    fn coding_is_chosen_by_the_client() {
        let coded = Coded::of(b"text").unwrap();
        let preferred = |accepted| coded.preferred(accepted).map(|(name, _)| name);
        assert_eq!(preferred("gzip,br,deflate"), Some("gzip"));
        assert_eq!(preferred("br"), Some("br"));
        assert_eq!(preferred("gzip;q=0.5, deflate;q=0.8, br;q=0"), Some("deflate"));
        assert_eq!(preferred("zstd, *;q=0.1"), Some("br"));
        assert_eq!(preferred("GZIP; q=1.0"), Some("gzip"));
        for none in ["", "identity", "gzip;q=0", "gzip;q=much", "zstd"] {
            assert_eq!(preferred(none), None, "{none}");
        }
    }
}
