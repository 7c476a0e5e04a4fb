//! How long a start takes that replays a hundred thousand commands, and one that has a snapshot, beside the least that
//! it could be: reading and parsing the same bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fpaas_benches::load;
use fpaas_core::subscription::{Secret, Subscription};
use fpaas_core::topics::Topics;
use fpaas_core::{ManualClock, Offset, SubscriptionId, TenantId, Timestamp, TopicPartition};
use fpaas_log::{Embedded, EmbeddedConfig, FetchBounds, Fsync, Log, Record, Transaction};
use fpaas_state::{Change, Command, Control, Machine};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const COMMANDS: usize = 100_000;
/// Each of these is changed a hundred times.
const SUBSCRIPTIONS: usize = 1000;
const AT_ONCE: usize = 1000;
/// How long a start may take that has all of it to replay.
const GOAL: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<()> {
    println!("load when it began: {}; {COMMANDS} commands about {SUBSCRIPTIONS} subscriptions\n", load());
    let folder = tempfile::tempdir()?;
    let config = || EmbeddedConfig { fsync: Fsync::Never, ..EmbeddedConfig::new(Arc::new(ManualClock::at_micros(1))) };
    let topics = Topics::default();
    let log = Embedded::open(folder.path(), config())?;
    Control::open(log.clone(), topics.clone(), "bench").await?;
    let at = TopicPartition::new(topics.control(), 0);
    let bytes = write(&*log, &at).await?;
    println!("they are {:.1} MB", bytes as f64 / 1e6);

    let began = Instant::now();
    let mut machine = Machine::default();
    let records = parse(&*log, &at, |value| {
        machine.apply(&Command::decode(value)?);
        Ok(())
    });
    let records = records.await?;
    let applied = began.elapsed();
    let began = Instant::now();
    let read = parse(&*log, &at, |value| {
        let _parsed: serde_json::Value = serde_json::from_slice(value)?;
        Ok(())
    });
    read.await?;
    let parsed = began.elapsed();
    ensure!(records == COMMANDS, "{records} commands");
    println!(
        "replayed and applied: {applied:.2?}, {:.2} times reading and parsing them ({parsed:.2?}), {:.2} of {GOAL:?}",
        ratio(applied, parsed),
        ratio(applied, GOAL)
    );

    let snapshots = TopicPartition::new(topics.control_snapshot(), 0);
    for what in ["replays all of it and makes the topics", "has a snapshot"] {
        let control = Control::open(log.clone(), topics.clone(), "bench").await?;
        let began = Instant::now();
        let follower = control.restore().await?;
        let took = began.elapsed();
        println!("a start that {what}: {took:.2?}, {:.2} of the {GOAL:?} that it may take", ratio(took, GOAL));
        ensure!(control.view().revision == COMMANDS as u64, "not all is there");
        // It writes one as it goes on.
        let written = async {
            while log.watermarks(&snapshots).await?.end == Offset::ZERO {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            anyhow::Ok(())
        };
        let stop = CancellationToken::new();
        tokio::select! {
            followed = follower.follow(&stop) => followed?,
            written = written => written?,
        }
    }
    let mut size = 0;
    parse(&*log, &snapshots, |part| {
        size += part.len();
        Ok(())
    })
    .await?;
    println!("the snapshot has {:.1} MB; digest {}", size as f64 / 1e6, &machine.digest()?[..16]);
    log.close()?;
    Ok(())
}

/// Appends all commands; their bytes.
async fn write(log: &dyn Log, at: &TopicPartition) -> Result<usize> {
    let writer = log.writer("bench", None).await?;
    let mut bytes = 0;
    for start in (0..COMMANDS).step_by(AT_ONCE) {
        let mut transaction = Transaction::new();
        for number in start..start + AT_ONCE {
            let command = command(number)?.encode()?;
            bytes += command.len();
            transaction.append(at.clone(), Record { value: Some(command), ..Record::default() });
        }
        writer.commit(transaction).await.map_err(|rejected| rejected.error)?;
    }
    Ok(bytes)
}

fn command(number: usize) -> Result<Command> {
    let subscription: Subscription = serde_json::from_value(json!({
        "filter": {"collections": ["app.bsky.feed.like"], "operations": ["create"]},
        "collector": {"maxEvents": number % 1000 + 1},
        "processor": {"webhook": {"url": "https://example.com/hook"}},
        "output": {"topic": "results"},
    }))?;
    let change = Change::PutSubscription {
        id: SubscriptionId::parse(&format!("subscription-{}", number % SUBSCRIPTIONS))?,
        subscription,
        secret: Secret::from_bytes(&[7; 32])?,
        starts: vec![Offset(7); 16],
    };
    let time = Timestamp::from_millis(i64::try_from(number)?);
    Ok(Command::new(format!("{number:032x}"), time, TenantId::parse("acme")?, change))
}

/// Reads all; how many.
async fn parse(log: &dyn Log, at: &TopicPartition, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<usize> {
    let (mut next, end, mut records) = (Offset::ZERO, log.watermarks(at).await?.end, 0);
    while next < end {
        let fetched = log.fetch(at, next, FetchBounds::now()).await?;
        for stored in &fetched.records {
            each(stored.record.value.as_deref().unwrap_or_default())?;
            records += 1;
        }
        next = fetched.next;
    }
    Ok(records)
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}
