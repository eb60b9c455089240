//! Queries for sockets, over all threads and nodes.

use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::{BoxStream, StreamExt};
use sociable_adapter::{Answer, Ask, Request, Target};
use tokio::sync::mpsc;

use crate::broadcast::Flags;
use crate::cluster::questions::AskedNodes;
use crate::namespace::Namespace;
use crate::remote_socket::{FetchError, RemoteSocket};

impl Namespace {
    /// Reports the sockets of this node as one [`Answer::Sockets`] of each thread. Returns the number of answers to expect.
    pub(crate) fn report_sockets(&self, target: Target, answers: mpsc::UnboundedSender<Answer>) -> usize {
        let namespace = self.clone();
        self.on_workers(self.only_worker(&target), 0, move |local| {
            let sockets = local.known(namespace.name()).map(|part| part.find(&target)).unwrap_or_default();
            drop(answers.send(Answer::Sockets(sockets.iter().map(|socket| socket.shared.info()).collect())));
        })
    }

    pub(crate) fn fetch(&self, target: Target, flags: Flags) -> BoxFuture<'static, Result<Vec<RemoteSocket>, FetchError>> {
        let Some(server) = self.server_state() else { return ready(Ok(vec![])).boxed() };
        let elsewhere = (!flags.local && !server.alone).then(|| {
            let ask = Ask::Sockets { target: target.clone() };
            server.cluster().request(Request { namespace: self.name().clone(), ask, trace: None })
        });
        let (answers, answered) = mpsc::unbounded_channel();
        let reports = self.report_sockets(target, answers);
        let (namespace, timeout) = (self.clone(), flags.timeout.unwrap_or(server.request_timeout));
        async move {
            let mut answers = merged(answered, reports, elsewhere);
            let (mut sockets, mut asked) = (vec![], AskedNodes::default());
            let collect = async {
                while let Some(answer) = answers.next().await {
                    match answer {
                        Answer::Sockets(infos) => sockets.extend(infos.into_iter().map(|info| RemoteSocket::new(namespace.clone(), info))),
                        other => asked.note(&other),
                    }
                }
            };
            let in_time = tokio::time::timeout(timeout, collect).await.is_ok();
            match asked.missing(in_time) {
                (missing, None) if missing.is_empty() && in_time => Ok(sockets),
                (missing, error) => Err(FetchError { sockets, missing, error }),
            }
        }
        .boxed()
    }
}

/// Merges the one answer of each thread with all answers of other nodes.
fn merged(
    answered: mpsc::UnboundedReceiver<Answer>,
    reports: usize,
    elsewhere: Option<BoxStream<'static, Answer>>,
) -> BoxStream<'static, Answer> {
    let here = futures_util::stream::unfold(answered, |mut answered| async { Some((answered.recv().await?, answered)) }).take(reports);
    match elsewhere {
        None => here.boxed(),
        Some(elsewhere) => futures_util::stream::select(here.boxed(), elsewhere).boxed(),
    }
}
