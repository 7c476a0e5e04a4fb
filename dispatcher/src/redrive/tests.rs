//! How dead letters are sorted, and portions of them.

use fpaas_core::Timestamp;
use fpaas_core::event::header;
use fpaas_log::Stored;
use fpaas_state::Cause;

use super::*;

fn current(rate: Option<u32>, lanes: u32, reasons: &[&str]) -> Current {
    let reasons = reasons.iter().map(ToString::to_string).collect();
    Current { since: 7, to: Offset(9), reasons, rate, lanes, row: RedriveRow::default() }
}

fn letter(offset: u64, reason: &str, bytes_max: usize) -> Stored {
    let event = Record { value: Some(vec![b'x'; 500].into()), ..Record::default() };
    let cause = Cause {
        stage: "dispatcher",
        reason,
        status: None,
        message: "no",
        attempts: 1,
        first_failed: Timestamp::default(),
        last_failed: Timestamp::default(),
        batch: None,
    };
    let record = fpaas_state::dead_letter(&event, &cause.headers(), Timestamp::default(), bytes_max);
    Stored { offset: Offset(offset), record }
}

fn fetched(letters: Vec<Stored>, next: u64) -> Fetched {
    Fetched { records: letters, next: Offset(next), end: Offset(next), lost_until: None }
}

#[test]
fn what_is_no_whole_event_or_was_not_asked_for_is_counted_and_what_is_behind_the_end_is_not() {
    let letters = vec![
        letter(1, "status", 9000),
        letter(2, "output", 9000),
        letter(4, "timeout", 9000),
        letter(6, "status", 400),
        letter(9, "status", 9000),
    ];
    for (reasons, redriven, others) in [(&[][..], 2, 0), (&["status"], 1, 1), (&["rejected", "timeout"], 1, 1)] {
        let portion = current(None, 1, reasons).portion(fetched(letters.clone(), 12));
        let row = RedriveRow { position: Offset(9), redriven, results: 1, cut: 1, others, refused: 0 };
        assert_eq!(portion.row(), row, "{reasons:?}");
        let bare = |record: &Record| record.headers.iter().all(|(name, _)| !name.starts_with(header::ERROR_PREFIX));
        assert!(portion.again().count() as u64 == redriven && portion.again().all(bare));
    }
}

#[test]
fn what_the_log_does_not_take_gets_smaller_until_it_is_one_letter_that_is_passed_over() {
    let letters = (0..5).map(|offset| letter(offset, "status", 9000)).collect();
    let mut portion = current(None, 1, &[]).portion(fetched(letters, 5));
    let mut rows = vec![portion.row()];
    while portion.shrink() {
        rows.push(portion.row());
    }
    let counts: Vec<_> = rows.iter().map(|row| (row.position.0, row.redriven, row.refused)).collect();
    assert_eq!(counts, [(5, 5, 0), (2, 2, 0), (1, 1, 0), (1, 0, 1)]);
}

#[test]
fn a_rate_bounds_what_is_read_at_a_time() {
    let most = |rate, lanes| current(rate, lanes, &[]).most();
    assert_eq!((most(Some(10), 4), most(Some(1), 64), most(None, 3)), (2, 1, limits::FETCH_RECORDS_MAX));
    assert_eq!(most(Some(u32::MAX), 1), limits::FETCH_RECORDS_MAX);
}

#[test]
fn more_is_written_once_what_was_written_is_read() {
    assert!(Ahead::Nothing.is_read(Offset(0)) && !Ahead::Unknown.is_read(Offset(9)));
    assert!(!Ahead::UpTo(Offset(5)).is_read(Offset(4)) && Ahead::UpTo(Offset(5)).is_read(Offset(5)));
}
