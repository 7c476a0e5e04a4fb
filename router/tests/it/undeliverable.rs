//! Records that cannot be delivered: they are dead letters or counted, and nothing stands still.

use fpaas_core::{Offset, TopicPartition, limits};
use fpaas_log::{FetchBounds, Record};
use fpaas_router::Config;

use crate::world::{Delivered, FENCE, Life, collections};
use fpaas_log::faulty::{Fault, Faults};

const LARGE: usize = 10_000;

fn has(offset: Offset) -> impl Fn(&Delivered) -> bool {
    move |delivered| delivered.get(&0).is_some_and(|offsets| offsets.contains(&offset.0))
}

async fn fresh(faults: Vec<(usize, Fault)>) -> (tempfile::TempDir, Life) {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::begin(folder.path(), Config::default(), Faults::new(faults)).await;
    (folder, life)
}

async fn dead_letters(life: &Life, id: &str) -> Vec<Record> {
    let entry = life.entry(id);
    let topic = life.topics.dead_letters(&entry.tenant, &entry.id, entry.incarnation);
    let fetched = life.log.fetch(&TopicPartition::new(topic, 0), Offset::ZERO, FetchBounds::now()).await.unwrap();
    fetched.records.into_iter().map(|stored| stored.record).collect()
}

#[tokio::test]
async fn the_largest_record_that_is_taken_in_is_delivered_and_a_larger_one_is_a_dead_letter() {
    let (_folder, mut life) = fresh(vec![]).await;
    life.put("likes", collections(&[]), life.ends().await).await;
    life.start("node0");
    // What the record has beside its value here: key and headers.
    let most = life.append_sized(0, FENCE, limits::SOURCE_RECORD_BYTES_MAX - 100).await;
    let larger = life.append_sized(0, FENCE, limits::RECORD_BYTES_MAX - 100).await;
    let last = life.append(0, FENCE).await;
    assert_eq!(life.delivered("likes", has(last)).await[&0], [most.0, last.0]);
    let letters = dead_letters(&life, "likes").await;
    let header = |name| letters[0].headers.get_str(name).unwrap();
    assert_eq!((letters.len(), &letters[0].value), (1, &None));
    assert_eq!((header("fpaas.error.reason"), header("fpaas.error.omitted")), ("tooLarge", "value"));
    assert_eq!(header("fpaas.source.offset"), larger.to_string());
    let counters = life.counters("likes");
    life.stop().await;
    assert_eq!((counters.stopped(), counters.matched.get(), counters.dead_letters.get()), (None, 3, 1));
}

/// One subscription in the scan and one in a lane, on a log that takes less than ours: what became of the large record.
/// `letter` is the length of its dead letter's value, where it has one.
async fn check_refused(faults: Vec<(usize, Fault)>, letter: Option<Option<usize>>) {
    let (letters, dropped) = (usize::from(letter.is_some()), u64::from(letter.is_none()));
    let (_folder, mut life) = fresh(faults).await;
    life.put("scan", collections(&[]), life.ends().await).await;
    life.start("node0");
    let first = life.append(0, FENCE).await;
    let large = life.append_sized(0, FENCE, LARGE).await;
    let last = life.append(0, FENCE).await;
    assert_eq!(life.delivered("scan", has(last)).await[&0], [first.0, last.0]);
    life.put("lane", collections(&[]), vec![Offset::ZERO; 2]).await;
    assert_eq!(life.delivered("lane", has(last)).await[&0], [first.0, last.0]);
    for id in ["scan", "lane"] {
        let found = dead_letters(&life, id).await;
        assert_eq!(found.len(), letters, "{id}");
        let wanted = letter;
        assert!(found.iter().all(|letter| {
            letter.headers.get_str("fpaas.source.offset") == Some(&large.to_string())
                && Some(letter.value.as_ref().map(bytes::Bytes::len)) == wanted
        }));
    }
    assert!(*life.faults.fired.borrow() >= 2);
    let counters = ["scan", "lane"].map(|id| life.counters(id));
    life.stop().await;
    for counters in counters {
        let counted = (counters.stopped(), counters.dead_letters.get(), counters.dropped.get());
        assert_eq!(counted, (None, letters as u64, dropped));
    }
}

#[tokio::test]
async fn what_the_log_refuses_as_too_large_is_a_dead_letter_and_scan_and_lane_go_on() {
    let too_large = |id: u32, name: &str| (1, Fault::TooLarge(format!("fpaas.acme.d.{name}.{id}"), LARGE));
    check_refused(vec![too_large(1, "scan"), too_large(2, "lane")], Some(Some(LARGE))).await;
}

#[tokio::test]
async fn a_dead_letter_that_is_too_large_itself_goes_without_its_value() {
    let too_large = |topic: &str| (1, Fault::TooLarge(format!("fpaas.acme.{topic}"), LARGE));
    let all = ["d.scan.1", "d.lane.2", "x.scan.1", "x.lane.2"];
    check_refused(all.map(too_large).to_vec(), Some(None)).await;
}

#[tokio::test]
async fn what_cannot_even_be_a_dead_letter_is_dropped_and_counted() {
    let deliveries = ["d.scan.1", "d.lane.2"].map(|topic| (1, Fault::TooLarge(format!("fpaas.acme.{topic}"), LARGE)));
    let letters = ["x.scan.1", "x.lane.2"].map(|topic| (1, Fault::TooLarge(format!("fpaas.acme.{topic}"), 0)));
    check_refused(deliveries.into_iter().chain(letters).collect(), None).await;
}
