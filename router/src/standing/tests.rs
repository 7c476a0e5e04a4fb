//! Where subscriptions stand before and after a change, a crash, a join.

use std::collections::BTreeMap;

use fpaas_core::subscription::Filter;
use fpaas_core::{Offset, TopicPartition};
use fpaas_state::rows::ScanRow;

use super::{Changed, NOBODY, Standings};
use crate::roster::Source;
use crate::testing::{self, source};

/// Committed rows by subscription.
type Rows = BTreeMap<&'static str, ScanRow>;

fn standings() -> Standings {
    Standings::new(TopicPartition::new("fpaas.firehose", 0))
}

fn follow(standings: &mut Standings, subscriptions: &[(&str, u64, u64)], position: u64, rows: &Rows) -> Changed {
    let row = |member: &crate::Member| Ok(rows.get(member.entry.id.as_str()).cloned());
    standings.follow(&source(subscriptions), Offset(position), row).unwrap()
}

fn lanes(changed: &Changed) -> Vec<(&str, u64)> {
    changed.opened.iter().map(|(member, position)| (member.entry.id.as_str(), position.0)).collect()
}

fn changes(standings: &Standings) -> Vec<String> {
    let line = |(key, row): (&String, &Option<ScanRow>)| {
        let id = key.split('/').nth(2).unwrap_or_default();
        match row {
            Some(ScanRow { position, in_scan }) => {
                format!("{id} {position} {}", if *in_scan { "scan" } else { "lane" })
            }
            None => format!("{id} removed"),
        }
    };
    standings.changes().iter().map(line).collect()
}

fn row(position: u64, in_scan: bool) -> ScanRow {
    ScanRow { position: Offset(position), in_scan }
}

#[test]
fn the_first_subscription_takes_the_scan_to_its_start() {
    for start in [0, 50, 500] {
        let mut standings = standings();
        let changed = follow(&mut standings, &[("a", 1, start)], 100, &Rows::new());
        assert_eq!((changed.position, lanes(&changed)), (Offset(start), vec![]));
        assert_eq!(changes(&standings), [format!("a {start} scan")]);
    }
}

#[test]
fn a_start_that_the_scan_has_not_reached_is_in_the_scan_and_one_it_has_passed_is_a_lane() {
    let mut standings = standings();
    let mut rows = Rows::from([("old", row(7, true))]);
    let subscriptions = [("old", 1, 0), ("early", 2, 99), ("at", 3, 100), ("late", 4, 300)];
    let changed = follow(&mut standings, &subscriptions, 100, &rows);
    // Its row first: one that is not there later is lost.
    assert_eq!((changed.position, lanes(&changed), changed.awaited), (Offset(100), vec![], Some(Offset(99))));
    assert_eq!(changes(&standings), ["at 100 scan", "early 99 lane", "late 300 scan"]);
    assert_eq!(standings.from(), [Offset(7), NOBODY, Offset(100), Offset(300)]);
    rows.extend([("at", row(100, true)), ("early", row(99, false)), ("late", row(300, true))]);
    assert!(standings.written());
    let changed = follow(&mut standings, &subscriptions, 110, &rows);
    assert_eq!((changed.position, lanes(&changed), changed.awaited), (Offset(110), vec![("early", 99)], None));
    assert!(changes(&standings).is_empty() && !standings.written());
}

#[test]
fn whoever_is_held_from_the_start_has_a_row_too() {
    let mut standings = standings();
    let entry = testing::entry("held", 1, Filter::default(), &[30]);
    let source = Source::new(vec![testing::held(&entry, true)]);
    let changed = standings.follow(&source, Offset(100), |_| Ok(None)).unwrap();
    assert_eq!((changed.position, lanes(&changed)), (Offset(100), vec![]));
    assert_eq!(changes(&standings), ["held 30 lane"]);
}

#[test]
fn the_row_says_where_a_subscription_goes_on_after_a_crash() {
    let mut standings = standings();
    let rows = Rows::from([
        ("scanned", row(7, true)),
        ("behind", row(60, false)),
        ("level", row(100, false)),
        ("ahead", row(130, false)),
    ]);
    let subscriptions = [("scanned", 1, 0), ("behind", 2, 0), ("level", 3, 0), ("ahead", 4, 0)];
    let changed = follow(&mut standings, &subscriptions, 100, &rows);
    assert_eq!(lanes(&changed), [("behind", 60)]);
    assert_eq!(changes(&standings), ["ahead 130 scan", "level 100 scan"]);
    assert_eq!(standings.from(), [Offset(7), NOBODY, Offset(100), Offset(130)]);
}

#[test]
fn where_all_are_behind_and_nobody_is_in_the_scan_the_scan_goes_back_to_the_first() {
    let mut standings = standings();
    let rows = Rows::from([("a", row(40, false)), ("b", row(60, false))]);
    let changed = follow(&mut standings, &[("a", 1, 0), ("b", 2, 0)], 100, &rows);
    assert_eq!((changed.position, lanes(&changed)), (Offset(40), vec![]));
    assert_eq!(changes(&standings), ["a 40 scan", "b 60 scan"]);
}

#[test]
fn what_nobody_in_the_scan_wants_is_skipped() {
    let mut standings = standings();
    let rows = Rows::from([("late", row(500, true))]);
    assert_eq!(follow(&mut standings, &[("late", 1, 500)], 100, &rows).position, Offset(500));
    let changed = follow(&mut standings, &[("late", 1, 500), ("early", 2, 20)], 500, &rows);
    assert_eq!(changed.position, Offset(500));
    assert_eq!(changes(&standings), ["early 20 lane"]);
}

#[test]
fn a_lane_that_joins_is_carried_from_the_border_on() {
    let mut standings = standings();
    let rows = Rows::from([("old", row(7, true))]);
    let subscriptions = [("old", 1, 0), ("early", 2, 5)];
    follow(&mut standings, &subscriptions, 100, &rows);
    standings.join(&source(&subscriptions), &"acme/early/2".into(), Offset(140));
    assert_eq!(changes(&standings), ["early 140 scan"]);
    assert_eq!(standings.from(), [Offset(7), Offset(140)]);
}

#[test]
fn rows_of_the_deleted_go_at_once_and_those_of_a_lane_when_it_has_ended() {
    let mut standings = standings();
    let rows = Rows::from([("stays", row(7, true)), ("goes", row(8, true)), ("lane", row(9, false))]);
    follow(&mut standings, &[("stays", 1, 0), ("goes", 2, 0), ("lane", 3, 0)], 100, &rows);
    let changed = follow(&mut standings, &[("stays", 1, 0)], 100, &rows);
    assert_eq!(changed.closed.iter().map(|key| &**key).collect::<Vec<_>>(), ["acme/lane/3"]);
    assert_eq!(changes(&standings), ["goes removed"]);
    standings.lane_ended(&source(&[("stays", 1, 0)]), &"acme/lane/3".into());
    assert_eq!(changes(&standings), ["goes removed", "lane removed"]);
    assert!(!standings.is_empty());
}

#[test]
fn a_subscription_that_was_left_out_keeps_its_place_until_it_is_changed() {
    let mut standings = standings();
    let rows = Rows::from([("ok", row(7, true)), ("bad", row(8, true))]);
    let subscriptions = [("ok", 1, 0), ("bad", 2, 0)];
    follow(&mut standings, &subscriptions, 100, &rows);
    standings.leave(&source(&subscriptions), &"acme/bad/2".into(), Offset(100));
    assert_eq!(changes(&standings), ["bad 100 lane"]);
    assert_eq!(standings.from(), [Offset(7), NOBODY]);
    let changed = follow(&mut standings, &subscriptions, 150, &rows);
    assert_eq!(lanes(&changed), []);
}

#[test]
fn one_left_out_before_its_turn_came_begins_where_it_was_to_begin() {
    let mut standings = standings();
    let rows = Rows::from([("ok", row(7, true)), ("bad", row(800, true))]);
    let subscriptions = [("ok", 1, 0), ("bad", 2, 0)];
    follow(&mut standings, &subscriptions, 100, &rows);
    standings.leave(&source(&subscriptions), &"acme/bad/2".into(), Offset(100));
    assert_eq!(changes(&standings), ["bad 800 lane"]);
}
