//! Questions of this node that await answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use futures_util::stream::{BoxStream, StreamExt, unfold};
use parking_lot::Mutex;
use sociable_protocol::maps::{Map, Numbered, Set};
use sociable_protocol::{Id, NodeTag};
use tokio::sync::mpsc;

use crate::{AdapterError, Answer, Latency};

/// Questions that lack an answer of a node.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    last: AtomicU64,
    open: Mutex<Numbered<Question>>,
    /// The time until a question was answered by all nodes.
    pub(crate) answered: Latency,
}

#[derive(Debug)]
struct Question {
    /// The channel of answers. The asked sockets and nodes bound its length; the caller bounds the time by dropping the
    /// stream.
    answers: mpsc::UnboundedSender<Answer>,
    waiting: Map<NodeTag, Asked>,
    since: Instant,
}

#[derive(Debug)]
struct Asked {
    name: ByteString,
    /// Clients that were sent the packet and have not acknowledged it.
    owed: Set<Id>,
}

/// Removes a question when its stream is dropped, and notifies the others.
struct Waiting<F: FnOnce(u64, bool)> {
    questions: Arc<Questions>,
    id: u64,
    ended: Option<F>,
}

impl<F: FnOnce(u64, bool)> Drop for Waiting<F> {
    fn drop(&mut self) {
        let open = self.questions.open.lock().remove(&self.id).is_some();
        if let Some(ended) = self.ended.take() {
            ended(self.id, open);
        }
    }
}

impl Questions {
    /// Opens a question to these nodes. `ended` is called when the stream has ended or is dropped, with true if answers
    /// are missing.
    pub(crate) fn open(
        self: &Arc<Self>,
        nodes: Vec<(NodeTag, ByteString)>,
        ended: impl FnOnce(u64, bool) + Send + 'static,
    ) -> (u64, BoxStream<'static, Answer>) {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (answers, answered) = mpsc::unbounded_channel();
        // The other end is held below.
        drop(answers.send(Answer::Asked(nodes.iter().map(|(_, name)| name.clone()).collect())));
        let waiting: Map<_, _> = nodes.into_iter().map(|(tag, name)| (tag, Asked { name, owed: Set::default() })).collect();
        if !waiting.is_empty() {
            self.open.lock().insert(id, Question { answers, waiting, since: Instant::now() });
        }
        let waiting = Waiting { questions: Arc::clone(self), id, ended: Some(ended) };
        let stream = unfold((answered, waiting), |(mut answered, waiting)| async { Some((answered.recv().await?, (answered, waiting))) });
        (id, stream.boxed())
    }

    /// Passes on an answer of a node.
    pub(crate) fn answer(&self, from: NodeTag, id: u64, answer: Answer) {
        let mut open = self.open.lock();
        let Some(question) = open.get_mut(&id) else { return };
        let Some(asked) = question.waiting.get_mut(&from) else { return };
        match &answer {
            Answer::Clients(ids) => asked.owed.extend(ids),
            Answer::Ack(id, _) | Answer::Gone(id) => drop(asked.owed.remove(id)),
            _ => {}
        }
        // The caller may have just dropped the stream.
        drop(question.answers.send(answer));
    }

    /// Records the last answer of a node.
    pub(crate) fn complete(&self, from: NodeTag, id: u64) {
        let mut open = self.open.lock();
        if let Some(question) = open.get_mut(&id)
            && question.finish(from, Answer::Done)
        {
            self.answered.observe(question.since.elapsed());
            open.remove(&id);
        }
    }

    /// Records that a node will not answer, or not completely.
    pub(crate) fn refuse(&self, from: NodeTag, id: u64) {
        let mut open = self.open.lock();
        if let Some(question) = open.get_mut(&id)
            && question.finish(from, Answer::Lost)
        {
            open.remove(&id);
        }
    }

    /// Ends the wait for a node. `left` is true if the node announced its leave, which ends its sockets for all.
    pub(crate) fn remove_node(&self, node: NodeTag, left: bool) {
        let last = if left { Answer::Done } else { Answer::Lost };
        self.open.lock().retain(|_, question| !question.finish(node, last));
    }

    /// Ends the wait for every node: this node has left, and hears no answer any more.
    pub(crate) fn abandon(&self) {
        let open = std::mem::take(&mut *self.open.lock());
        open.into_values().for_each(|mut question| question.finish_all());
    }

    /// Ends a question that could not be sent.
    pub(crate) fn withdraw(&self, id: u64, error: AdapterError) {
        if let Some(mut question) = self.open.lock().remove(&id) {
            drop(question.answers.send(Answer::Failed(error)));
            question.finish_all();
        }
    }

    /// Returns nodes that have owed an answer for so long.
    pub(crate) fn overdue(&self, after: Duration) -> Set<NodeTag> {
        let open = self.open.lock();
        open.values().filter(|question| question.since.elapsed() > after).flat_map(|question| question.waiting.keys().copied()).collect()
    }
}

impl Question {
    /// Ends the wait for a node. Returns true if it was the last.
    fn finish(&mut self, node: NodeTag, last: impl Fn(ByteString) -> Answer) -> bool {
        if let Some(asked) = self.waiting.remove(&node) {
            asked.owed.into_iter().for_each(|id| drop(self.answers.send(Answer::Gone(id))));
            drop(self.answers.send(last(asked.name)));
        }
        self.waiting.is_empty()
    }

    /// Ends the wait for all nodes.
    fn finish_all(&mut self) {
        for node in self.waiting.keys().copied().collect::<Vec<_>>() {
            self.finish(node, Answer::Lost);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use futures_util::FutureExt;
    use sociable_protocol::{Args, Encoding, IdSource};

    use super::*;

    fn nodes(n: usize) -> Vec<(NodeTag, ByteString)> {
        (0..n).map(|i| (NodeTag::random(), ByteString::from(format!("node-{i}")))).collect()
    }

    #[test]
    fn stream_ends_with_the_last_node_and_reports_lost_ones() {
        let questions = Arc::new(Questions::default());
        let nodes = nodes(2);
        let [(a, _), (b, _)] = [nodes[0].clone(), nodes[1].clone()];
        let (id, answers) = questions.open(nodes, |_, open| assert!(!open, "all have answered"));
        let mut ids = IdSource::new(b);
        let (first, second) = (ids.draw(), ids.draw());
        questions.complete(a, id);
        questions.answer(a, id, Answer::Gone(first));
        questions.answer(b, id, Answer::Clients(vec![first, second]));
        questions.answer(b, id, Answer::Ack(first, Args::empty(Encoding::Json)));
        questions.remove_node(b, false);
        let answers = answers.collect::<Vec<_>>().now_or_never().expect("the stream has ended");
        assert_eq!(answers[0], Answer::Asked(vec!["node-0".into(), "node-1".into()]));
        assert_eq!(answers[1], Answer::Done("node-0".into()));
        assert_eq!(answers[4..], [Answer::Gone(second), Answer::Lost("node-1".into())]);
        assert!(questions.open.lock().is_empty());
    }

    #[test]
    fn abandoned_question_ends_with_lost_nodes() {
        let questions = Arc::new(Questions::default());
        let (_, answers) = questions.open(nodes(2), |_, _| {});
        questions.abandon();
        let answers = answers.collect::<Vec<_>>().now_or_never().expect("the stream has ended");
        assert_eq!(answers.iter().filter(|answer| matches!(answer, Answer::Lost(_))).count(), 2);
        assert!(questions.open.lock().is_empty());
    }

    #[test]
    fn question_to_nobody_ends_at_once() {
        let (_, answers) = Arc::new(Questions::default()).open(vec![], |_, open| assert!(!open, "no node was asked"));
        assert_eq!(answers.collect::<Vec<_>>().now_or_never(), Some(vec![Answer::Asked(vec![])]));
    }

    #[test]
    fn dropped_question_notifies_the_others() {
        let questions = Arc::new(Questions::default());
        let notified = Arc::new(AtomicBool::new(false));
        let on_end = Arc::clone(&notified);
        let (_, answers) = questions.open(nodes(1), move |_, open| on_end.store(open, Ordering::Relaxed));
        drop(answers);
        assert!(notified.load(Ordering::Relaxed));
        assert!(questions.open.lock().is_empty());
    }
}
