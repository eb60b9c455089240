//! The way of polls past the `App`: requests of sessions are answered below the HTTP server, on the same connection.
//!
//! The HTTP server reads through a [`Lane`]. At the start of a request, the lane looks at what has arrived. A whole request of a session is
//! answered here, and the HTTP server sees nothing of it. All other bytes pass through, and the lane measures them to find the next start.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::line::Line;
use super::measure::Measure;
use crate::http::direct::DirectRequest;
use crate::http::lasting::Unread;
use crate::state::EngineState;

/// The requests of one connection that pass by the `App`.
pub(super) struct Lane {
    engine: Arc<EngineState>,
    measure: Measure,
    work: Work,
    /// Bytes that arrived after the request that is being answered. They are read once per answer.
    behind: Vec<u8>,
    /// True if the next bytes go to the HTTP server: those of a refused request, and the first of a connection, because the HTTP server bounds the
    /// time of their head.
    declined: bool,
}

enum Work {
    /// Nothing is being answered.
    None,
    Answering {
        /// The bytes of the request, for the `App` if this engine refuses it.
        request: Box<[u8]>,
        answer: LocalBoxFuture<'static, Option<Vec<u8>>>,
    },
    Writing {
        bytes: Vec<u8>,
        written: usize,
        _unread: Option<Unread>,
    },
}

impl Lane {
    pub(super) fn new(engine: Arc<EngineState>) -> Self {
        Self { engine, measure: Measure::default(), work: Work::None, behind: vec![], declined: true }
    }

    /// Reads the next bytes for the HTTP server, and meanwhile answers the requests that pass it by.
    pub(super) fn poll_read<S>(
        &mut self,
        stream: &mut S,
        line: &Rc<Line>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = buf.filled().len();
        loop {
            match &mut self.work {
                Work::None => {
                    if self.behind.is_empty() {
                        ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
                    } else {
                        let length = self.behind.len().min(buf.remaining());
                        buf.put_slice(&self.behind[..length]);
                        self.behind.drain(..length);
                    }
                    let bytes = &buf.filled()[start..];
                    if line.has_answered() {
                        self.measure.answered();
                    }
                    let declined = std::mem::take(&mut self.declined);
                    let request = if self.measure.at_start() && !declined { DirectRequest::read(&self.engine.config, bytes) } else { None };
                    let Some(request) = request else {
                        self.measure.pass(bytes);
                        return Poll::Ready(Ok(()));
                    };
                    line.begin_direct();
                    let answer = Box::pin(request.answer(Arc::clone(&self.engine), Rc::clone(line)));
                    self.work = Work::Answering { request: bytes.into(), answer };
                    buf.set_filled(start);
                }
                Work::Answering { request, answer } => match answer.as_mut().poll(cx) {
                    Poll::Ready(Some(bytes)) => {
                        line.end_direct();
                        let _unread = Unread::count(&self.engine, bytes.len());
                        self.work = Work::Writing { bytes, written: 0, _unread };
                    }
                    Poll::Ready(None) => {
                        line.end_direct();
                        self.behind.splice(..0, request.iter().copied());
                        (self.declined, self.work) = (true, Work::None);
                    }
                    Poll::Pending => {
                        if !self.behind.is_empty() {
                            return Poll::Pending;
                        }
                        let read = ready!(Pin::new(&mut *stream).poll_read(cx, buf));
                        let bytes = &buf.filled()[start..];
                        if read.is_err() || bytes.is_empty() {
                            // The client is gone, and its poll with it.
                            self.work = Work::None;
                            return Poll::Ready(read);
                        }
                        line.read(bytes);
                        self.behind.extend_from_slice(bytes);
                        buf.set_filled(start);
                    }
                },
                Work::Writing { bytes, written, .. } => {
                    while let Some(rest) = bytes.get(*written..).filter(|rest| !rest.is_empty()) {
                        match ready!(Pin::new(&mut *stream).poll_write(cx, rest))? {
                            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                            length => *written += length,
                        }
                    }
                    ready!(Pin::new(&mut *stream).poll_flush(cx))?;
                    self.work = Work::None;
                }
            }
        }
    }
}
