//! What a node starts, seen from inside.

use std::time::Duration;

use clap::Parser as _;
use fpaas_core::{Offset, Timestamp, TopicPartition};
use fpaas_log::{Embedded, EmbeddedConfig, Record, Transaction};

use super::*;
use crate::args::Args;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// More often than three passes of retention ask what time it is: four partitions, and those of compacted topics.
const THREE_PASSES: u64 = 3 * (4 + 3 * 64 + 64);

/// Stands still and counts who asks: the log's retention alone does.
#[derive(Debug)]
struct Asked(Timestamp, watch::Sender<u64>);

impl Clock for Asked {
    fn now_micros(&self) -> i64 {
        self.1.send_modify(|asked| *asked += 1);
        self.0.as_millis() * 1000
    }
}

fn plan() -> Plan {
    let arguments = ["fpaas", "dev", "--upstream", "wss://a.example"];
    Plan::new(&Args::parse_from(arguments).settings()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_trims_the_firehose_by_itself() {
    let (folder, plan, now) = (tempfile::tempdir().unwrap(), plan(), WallClock.now());
    let clock = Arc::new(Asked(now, watch::Sender::new(0)));
    let config =
        EmbeddedConfig { retention_interval: Duration::from_millis(1), ..EmbeddedConfig::new(Arc::clone(&clock) as _) };
    let backend = Backend::Embedded(Embedded::open(folder.path(), config).unwrap());
    let (log, topics) = (backend.log(), backend.topics());
    make_firehose(&log, &topics, &plan).await.unwrap();
    let at = TopicPartition::new(topics.firehose(), 0);
    let mut transaction = Transaction::new();
    for timestamp in [now.minus(2 * DAY), now.minus(DAY / 2)] {
        transaction.append(at.clone(), Record { timestamp, ..Record::default() });
    }
    log.writer("test", None).await.unwrap().commit(transaction).await.unwrap();

    let control = Control::open(Arc::clone(&log), topics.clone(), "node").await.unwrap();
    let board = Arc::new(Board::default());
    let context = Context { log, topics, control, board, clock: Arc::new(WallClock), node: "node".into() };
    let mut supervisor = Supervisor::new(CancellationToken::new());
    start_control(&mut supervisor, &context).await.unwrap();
    drop(start_stages(&mut supervisor, &context, &plan, &backend));
    let mut asked = clock.1.subscribe();
    let passed = asked.wait_for(|asked| *asked > THREE_PASSES);
    tokio::time::timeout(PATIENCE, passed).await.expect("retention looks").unwrap();
    assert_eq!(context.log.watermarks(&at).await.unwrap().low, Offset(1));
    supervisor.drain().await.unwrap();
    drop(context);
    backend.close().await.unwrap();
}
