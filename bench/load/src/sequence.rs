//! Numbered messages as one client receives them: each once, in order, or not.

use std::ops::{AddAssign, Range};

/// The way in which a message arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// After all that were sent before it, or those are missing.
    InOrder,
    /// After one that was sent later. The highest number so far is in it.
    Late(usize),
    /// A second time.
    Again,
}

/// The numbers that are missing between two that arrived.
#[derive(Clone, Debug)]
struct Gap {
    numbers: Range<usize>,
    /// True if the client was away, and came back as a new one.
    is_excused: bool,
}

/// The messages that are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Those that the client had to get.
    pub(crate) lost: u64,
    /// Those of the time in which it was nobody to the server.
    pub(crate) excused: u64,
}

impl AddAssign for Missing {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.excused += other.excused;
    }
}

/// The messages of one client. Memory grows with the gaps, not with the messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sequence {
    /// One more than the highest number that arrived.
    next: usize,
    gaps: Vec<Gap>,
    /// True if what is missing up to the next arrival is excused.
    is_excused: bool,
}

impl Sequence {
    /// Notes a message.
    #[inline]
    pub(crate) fn note(&mut self, number: usize) -> Arrival {
        if number < self.next {
            return self.note_late(number);
        }
        if number > self.next {
            self.gaps.push(Gap { numbers: self.next..number, is_excused: self.is_excused });
        }
        self.next = number + 1;
        self.is_excused = false;
        Arrival::InOrder
    }

    fn note_late(&mut self, number: usize) -> Arrival {
        let Some(at) = self.gaps.iter().rposition(|gap| gap.numbers.contains(&number)) else { return Arrival::Again };
        let Gap { numbers, is_excused } = self.gaps[at].clone();
        let parts = [numbers.start..number, number + 1..numbers.end];
        let parts = parts.into_iter().filter(|part| !part.is_empty()).map(|numbers| Gap { numbers, is_excused });
        self.gaps.splice(at..=at, parts);
        Arrival::Late(self.next - 1)
    }

    /// Excuses what is missing up to the next arrival: the client is a new one.
    pub(crate) fn excuse(&mut self) {
        self.is_excused = true;
    }

    /// Returns what is missing of all messages. Each is true if the client had to get it.
    pub(crate) fn missing(&self, messages: &[bool]) -> Missing {
        let mut missing = Missing::default();
        let tail = Gap { numbers: self.next..messages.len(), is_excused: self.is_excused };
        for gap in self.gaps.iter().chain([&tail]) {
            let sum = if gap.is_excused { &mut missing.excused } else { &mut missing.lost };
            *sum += messages[gap.numbers.clone()].iter().filter(|&&is_due| is_due).count() as u64;
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_doubles_and_disorder_are_told_apart() {
        let mut sequence = Sequence::default();
        let arrivals = [0, 1, 5, 3, 3, 2, 1, 6].map(|number| sequence.note(number));
        use Arrival::{Again, InOrder, Late};
        assert_eq!(arrivals, [InOrder, InOrder, InOrder, Late(5), Again, Late(5), Again, InOrder]);
        assert_eq!(sequence.missing(&[true; 9]), Missing { lost: 3, excused: 0 }, "4, 7 and 8");
        let due: Vec<bool> = (0..9).map(|number| number != 4).collect();
        assert_eq!(sequence.missing(&due), Missing { lost: 2, excused: 0 }, "nobody had to get 4");
    }

    #[test]
    fn absence_of_a_new_client_is_excused() {
        let mut sequence = Sequence::default();
        sequence.note(0);
        sequence.excuse();
        sequence.note(4);
        sequence.note(6);
        assert_eq!(sequence.missing(&[true; 7]), Missing { lost: 1, excused: 3 });
        sequence.excuse();
        assert_eq!(sequence.missing(&[true; 9]), Missing { lost: 1, excused: 5 });
    }
}
