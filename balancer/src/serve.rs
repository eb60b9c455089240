//! The life of a worker: it takes connections, looks after them once a second, and ends when it is told to and the last of them is gone.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::accept::Accepted;
use crate::connection::Connection;
use crate::shared::Shared;
use crate::stream::Stream;
use crate::worker::Worker;

/// Starts a worker. It ends when it is told in what time, or when nobody is left who could send it a connection and the last is gone.
pub(crate) fn start(
    index: usize,
    shared: Arc<Shared>,
    accepted: mpsc::Receiver<Accepted>,
    leave: watch::Receiver<Option<Duration>>,
) -> io::Result<JoinHandle<()>> {
    let (begun, begins) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(format!("balancer-{index}")).spawn(move || {
        // It can't be made elsewhere: it never leaves its thread.
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let told = runtime.as_ref().map(|_| ()).map_err(|error| io::Error::from(error.kind()));
        let _ = begun.send(told);
        if let Ok(runtime) = runtime {
            runtime.block_on(run(Worker::new(shared), accepted, leave));
        }
    })?;
    begins.recv().map_err(io::Error::other)??;
    Ok(thread)
}

async fn run(worker: Rc<Worker>, mut accepted: mpsc::Receiver<Accepted>, mut leave: watch::Receiver<Option<Duration>>) {
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // A worker that is told to go at once may have connections still that wait for it.
    let (mut accepts, mut changes, mut ends) = (true, true, None);
    loop {
        tokio::select! {
            next = accepted.recv(), if accepts => match next {
                Some(accepted) => drop(spawn_local(begin(Rc::clone(&worker), accepted))),
                None => accepts = false,
            },
            _ = second.tick() => {
                worker.tick(worker.shared.options().pool_idle);
                if let Some(left) = ends.map(left) {
                    worker.roll.dismiss(left.as_secs());
                }
            }
            changed = leave.changed(), if changes => {
                changes = changed.is_ok();
                // Whoever could have told it is gone.
                let time = if changes { *leave.borrow_and_update() } else { Some(Duration::ZERO) };
                ends = time.map(|time| Instant::now() + time);
                worker.leaving.set(ends.is_some());
            }
        }
        if let Some(ends) = ends
            && (!accepts && worker.roll.len() == 0 || left(ends).is_zero())
        {
            break;
        }
    }
}

fn left(ends: Instant) -> Duration {
    ends.saturating_duration_since(Instant::now())
}

/// What comes before HTTP.
async fn begin(worker: Rc<Worker>, accepted: Accepted) {
    let Accepted { stream, peer, tls: _, proxied: _, permit } = accepted;
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(_) => return drop(worker.shared.metrics.accept_errors.inc()),
    };
    Connection::serve(worker, Stream::Plain(stream), peer, vec![], permit).await;
}
