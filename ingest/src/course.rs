//! How one upstream counts: which `seq` goes on from the last one, and may therefore become its cursor. Pure.
//!
//! A message is taken when its `seq` rises. One that leaps ahead by more than `limits::SEQ_LEAP_MAX` is not, since all
//! that follows a forged or broken one would then be stale, and the next connection would ask for what is behind it;
//! but when the one after it goes on from there, the upstream does count so, and is followed: one message is lost to
//! that, under its reason. The socket and the decoder hold one each and come to the same conclusions.

use fpaas_core::limits;

use crate::gate::DropReason;

/// Where an upstream is in its own count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Course {
    last: Option<u64>,
    leapt: Option<u64>,
}

impl Course {
    /// Goes on above `cursor`.
    pub(crate) const fn behind(cursor: Option<u64>) -> Self {
        Self { last: cursor, leapt: None }
    }

    /// The last `seq` that was taken: everything up to it was, or was dropped under a reason.
    pub(crate) const fn last(&self) -> Option<u64> {
        self.last
    }

    /// Takes `seq` if it goes on from the last one.
    pub(crate) fn admit(&mut self, seq: u64) -> Result<(), DropReason> {
        let leapt = self.leapt.take();
        match self.last {
            Some(last) if seq <= last => Err(DropReason::FrameStaleSeq),
            Some(last) if !goes_on(last, seq) && !leapt.is_some_and(|leapt| goes_on(leapt, seq)) => {
                self.leapt = Some(seq);
                Err(DropReason::FrameSeqLeap)
            }
            _ => {
                self.last = Some(seq);
                Ok(())
            }
        }
    }
}

const fn goes_on(from: u64, to: u64) -> bool {
    from < to && to - from <= limits::SEQ_LEAP_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEAP: u64 = limits::SEQ_LEAP_MAX + 1;

    fn check(cursor: Option<u64>, seqs: &[u64], expected: &[Result<(), DropReason>], last: Option<u64>) {
        let mut course = Course::behind(cursor);
        let said: Vec<_> = seqs.iter().map(|seq| course.admit(*seq)).collect();
        assert_eq!((said.as_slice(), course.last()), (expected, last), "{cursor:?} {seqs:?}");
    }

    #[test]
    fn what_rises_is_taken_and_what_does_not_or_leaps_is_named() {
        let (stale, leap) = (Err(DropReason::FrameStaleSeq), Err(DropReason::FrameSeqLeap));
        check(None, &[limits::SEQ_MAX], &[Ok(())], Some(limits::SEQ_MAX));
        check(Some(5), &[5, 0, 6, 9, 7], &[stale, stale, Ok(()), Ok(()), stale], Some(9));
        check(Some(5), &[5 + limits::SEQ_LEAP_MAX], &[Ok(())], Some(5 + limits::SEQ_LEAP_MAX));
        check(Some(5), &[5 + LEAP, 6, 7], &[leap, Ok(()), Ok(())], Some(7));
        check(Some(5), &[5 + LEAP, 5, 6 + LEAP], &[leap, stale, leap], Some(5));
        check(Some(5), &[5 + LEAP, 6 + LEAP, 7], &[leap, Ok(()), stale], Some(6 + LEAP));
        check(Some(5), &[5 + LEAP, 5 + LEAP, 6], &[leap, leap, Ok(())], Some(6));
    }

    proptest! {
        /// Whatever single messages lie in between, those that count on from the cursor are all taken, and the cursor
        /// ends at the last of them.
        #[test]
        fn no_single_forged_seq_keeps_a_good_one_from_being_taken(
            start in 0..1_000_000u64,
            steps in proptest::collection::vec((1..1_000_000u64, proptest::option::of(any::<u64>())), 1..60),
        ) {
            let (mut course, mut good) = (Course::behind(Some(start)), start);
            for (step, forged) in steps {
                let forged = forged.filter(|forged| *forged <= good || !goes_on(good, *forged));
                prop_assert!(forged.is_none_or(|forged| course.admit(forged).is_err()));
                good += step;
                prop_assert_eq!(course.admit(good), Ok(()));
                prop_assert_eq!(course.last(), Some(good));
            }
        }
    }
}
