//! Where the records of a copied partition stand now: source offset to target offset. Pure.
//!
//! ```text
//!   source   trimmed │ 7  8  9  gap  12 13 │ end 14          a position is the next offset to read: it becomes
//!                      │  │  │        │  │      │            the offset of the first record at or above it, and
//!   target             0  1  2  (ctl) 4  5   (ctl) end 7     behind the last record the end of what was read back
//! ```
//!
//! Rises with the offset, so whatever was ordered before is in the same order after.

use fpaas_core::Offset;

/// See the module's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Translation {
    /// In order, on both sides.
    runs: Vec<Run>,
    end: Offset,
}

/// Records that follow each other without a gap on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    source: Offset,
    target: Offset,
    length: u64,
}

impl Translation {
    /// The next record: both offsets are above the last ones.
    pub(super) fn note(&mut self, source: Offset, target: Offset) {
        match self.runs.last_mut() {
            Some(run) if run.source_end() == source && run.target_end() == target => run.length += 1,
            _ => self.runs.push(Run { source, target, length: 1 }),
        }
        self.end = target.next();
    }

    /// Nothing readable is between the last record and `end`.
    pub(super) fn end_at(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// Where a reader at `offset` goes on.
    pub(super) fn of(&self, offset: Offset) -> Offset {
        let at = self.runs.partition_point(|run| run.source_end() <= offset);
        self.runs.get(at).map_or(self.end, |run| Offset(run.target.0 + offset.0.saturating_sub(run.source.0)))
    }
}

impl Run {
    const fn source_end(&self) -> Offset {
        Offset(self.source.0 + self.length)
    }

    const fn target_end(&self) -> Offset {
        Offset(self.target.0 + self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_goes_on_at_the_record_it_was_at_or_at_the_next_one() {
        let mut translation = Translation::default();
        for (source, target) in [(7, 0), (8, 1), (9, 2), (12, 4), (13, 5)] {
            translation.note(Offset(source), Offset(target));
        }
        translation.end_at(Offset(7));
        let of: Vec<_> = (5..16).map(|offset| translation.of(Offset(offset)).0).collect();
        assert_eq!(of, [0, 0, 0, 1, 2, 4, 4, 4, 5, 7, 7]);
        assert_eq!(Translation::default().of(Offset(9)), Offset::ZERO);
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn scramble(seed: u64) -> u64 {
        let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Rising offsets, from dense ones to ones with many gaps.
    fn offsets(seed: u64, count: u64) -> Vec<Offset> {
        let widest = scramble(seed) % 4 + 1;
        let steps = (0..count).map(|at| scramble(seed ^ scramble(at)) % widest + 1);
        steps
            .scan(scramble(seed ^ 1) % 50, |at, step| {
                *at += step;
                Some(Offset(*at))
            })
            .collect()
    }

    #[test]
    fn whatever_gaps_there_are_the_same_is_left_to_read_before_and_after_and_in_the_same_order() {
        for seed in 0..500 {
            let count = scramble(seed ^ 2) % 60;
            let (sources, targets) = (offsets(seed, count), offsets(seed + 1000, count));
            let mut translation = Translation::default();
            sources.iter().zip(&targets).for_each(|(source, target)| translation.note(*source, *target));
            let end = Offset(targets.last().map_or(0, |last| last.0 + 1) + seed % 4);
            translation.end_at(end);
            let mut before = Offset::ZERO;
            for position in 0..sources.last().map_or(60, |last| last.0 + 5) {
                let left = sources.iter().filter(|source| source.0 >= position).count();
                let now = translation.of(Offset(position));
                assert_eq!(left, targets.iter().filter(|target| **target >= now).count(), "{seed}: {position}");
                assert!(before <= now && now <= end, "{seed}: {position}");
                before = now;
            }
        }
    }
}
