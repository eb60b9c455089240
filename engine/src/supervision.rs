//! Supervision: the directives for dead actors, their intensity, and the record of deaths.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::actor::ActorKind;

/// The number of deaths that a thread's record holds.
const REMEMBERED: usize = 16;

/// A supervisor's choice for a dead actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// A new actor replaces it.
    Restart,
    /// The actor is not replaced, and its session or sockets end.
    Stop,
    /// The supervisor itself is restarted.
    Escalate,
}

impl Directive {
    /// Returns the name: `restart`, `stop` or `escalate`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Escalate => "escalate",
        }
    }
}

/// The strategy for a kind of actor: a number of restarts within a period, and another directive beyond.
#[derive(Clone, Copy, Debug)]
pub struct Strategy {
    /// The restart intensity: the number of restarts within the period.
    pub restarts: usize,
    /// The period.
    pub within: Duration,
    /// The directive beyond the intensity.
    pub beyond: Directive,
}

/// The restarts of one supervisor, for the intensity of its strategy.
#[derive(Debug, Default)]
pub struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// Returns the directive for an actor that died now.
    pub fn directive(&mut self, strategy: &Strategy, now: Instant) -> Directive {
        while self.0.front().is_some_and(|restart| now.duration_since(*restart) >= strategy.within) {
            self.0.pop_front();
        }
        if self.0.len() >= strategy.restarts {
            return strategy.beyond;
        }
        self.0.push_back(now);
        Directive::Restart
    }
}

/// A death, as the report on actors shows it.
#[derive(Clone, Debug)]
pub struct DeathRecord {
    /// The kind of the actor.
    pub kind: ActorKind,
    /// The name of the actor, such as an id that may be logged.
    pub name: String,
    /// The text of the panic.
    pub cause: String,
    /// The supervisor's directive.
    pub directive: Directive,
    /// The time of the death.
    pub at: Instant,
}

/// The deaths and restarts of one kind of actor on a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindRecord {
    /// The kind.
    pub kind: ActorKind,
    /// The number of its actors that died.
    pub deaths: u64,
    /// The number of its actors that were restarted.
    pub restarts: u64,
    /// The longest call of one of them.
    pub longest_call: Duration,
}

/// The record of the actors of one thread, readable by other threads.
#[derive(Debug, Default)]
pub struct ActorLog(Mutex<Record>);

#[derive(Debug, Default)]
struct Record {
    kinds: Vec<KindRecord>,
    last: VecDeque<DeathRecord>,
}

impl Record {
    fn of(&mut self, kind: ActorKind) -> &mut KindRecord {
        let at = self.kinds.iter().position(|record| record.kind == kind).unwrap_or_else(|| {
            self.kinds.push(KindRecord { kind, deaths: 0, restarts: 0, longest_call: Duration::ZERO });
            self.kinds.len() - 1
        });
        &mut self.kinds[at]
    }
}

impl ActorLog {
    /// Records a death and logs it.
    pub(crate) fn death(&self, death: DeathRecord) {
        let DeathRecord { kind, name, cause, directive, .. } = &death;
        tracing::error!(target: "sociable::actor", %kind, name, cause, directive = directive.as_str(), "actor died");
        let mut record = self.0.lock();
        let of_kind = record.of(*kind);
        of_kind.deaths += 1;
        of_kind.restarts += u64::from(*directive == Directive::Restart);
        if record.last.len() == REMEMBERED {
            record.last.pop_front();
        }
        record.last.push_back(death);
    }

    /// Records the longest call of a kind, if this one is longer than those before.
    pub(crate) fn long_call(&self, kind: ActorKind, time: Duration) {
        let mut record = self.0.lock();
        let of_kind = record.of(kind);
        of_kind.longest_call = of_kind.longest_call.max(time);
    }

    /// Returns the records of all kinds with a death or a recorded call.
    pub fn kinds(&self) -> Vec<KindRecord> {
        self.0.lock().kinds.clone()
    }

    /// Returns the last deaths, the oldest first: 16 at most.
    pub fn last_deaths(&self) -> Vec<DeathRecord> {
        self.0.lock().last.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRATEGY: Strategy = Strategy { restarts: 2, within: Duration::from_secs(10), beyond: Directive::Escalate };

    #[test]
    fn directive_changes_beyond_the_restart_intensity() {
        let (mut restarts, start) = (Restarts::default(), Instant::now());
        let mut directive = |seconds| restarts.directive(&STRATEGY, start + Duration::from_secs(seconds));
        assert_eq!([directive(0), directive(9), directive(9)], [Directive::Restart, Directive::Restart, Directive::Escalate]);
        assert_eq!(directive(10), Directive::Restart, "the first restart is out of the period");
        assert_eq!(directive(11), Directive::Escalate);
    }

    #[test]
    fn deaths_are_counted_by_kind_and_the_last_are_remembered() {
        let (log, kind) = (ActorLog::default(), ActorKind::new("list"));
        for number in 0..20 {
            let directive = if number == 0 { Directive::Stop } else { Directive::Restart };
            log.death(DeathRecord { kind, name: number.to_string(), cause: "broken".into(), directive, at: Instant::now() });
        }
        log.long_call(kind, Duration::from_millis(3));
        log.long_call(kind, Duration::from_millis(2));
        assert_eq!(log.kinds(), [KindRecord { kind, deaths: 20, restarts: 19, longest_call: Duration::from_millis(3) }]);
        assert_eq!(log.last_deaths().iter().map(|death| death.name.as_str()).collect::<Vec<_>>().first(), Some(&"4"));
    }
}
