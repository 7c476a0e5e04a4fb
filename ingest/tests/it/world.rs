//! A small world around the service: a log in a temporary folder, a relay that serves frames as it is told, and the
//! firehose topic read back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::topics::Topics;
use fpaas_core::{ManualClock, Offset, TopicPartition, partition};
use fpaas_ingest::{Config, Error, Frame, Status, Upstream};
use fpaas_log::{Embedded, EmbeddedConfig, FetchBounds, Log, Record, TopicSpec};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_util::sync::CancellationToken;

pub(crate) const PARTITIONS: u32 = 4;

/// A log, and the ingest that runs on it.
pub(crate) struct World {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) topics: Topics,
    _files: TempDir,
}

/// Ingest while it runs.
pub(crate) struct Running {
    pub(crate) status: Arc<Status>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl World {
    /// With the topics made, so that they can be waited at.
    pub(crate) async fn new() -> Self {
        let files = TempDir::new().unwrap();
        let mut config = EmbeddedConfig::new(Arc::new(ManualClock::default()));
        config.gap_every = Some(7);
        let log = Embedded::open(&files.path().join("log"), config).unwrap();
        let topics = Topics::default();
        log.create_topic(&topics.firehose(), &TopicSpec::kept(PARTITIONS)).await.unwrap();
        log.create_topic(&topics.ingest(), &TopicSpec::compacted(1)).await.unwrap();
        Self { log, topics, _files: files }
    }

    /// Starts ingest with a clock that stands at `now_us`.
    pub(crate) fn start(&self, upstreams: &[String], now_us: i64) -> Running {
        self.start_with(upstreams, now_us, |_| {})
    }

    /// The same, otherwise configured.
    pub(crate) fn start_with(&self, upstreams: &[String], now_us: i64, with: impl FnOnce(&mut Config)) -> Running {
        let upstreams: Vec<_> = upstreams.iter().map(|text| Upstream::parse(text).unwrap()).collect();
        let status = Arc::new(Status::new(&upstreams));
        let stop = CancellationToken::new();
        let mut config = Config::new("node", upstreams);
        config.firehose = TopicSpec::kept(PARTITIONS);
        with(&mut config);
        let clock = Arc::new(ManualClock::at_micros(now_us));
        let run = fpaas_ingest::run(config, self.log.clone(), self.topics.clone(), clock, status.clone(), stop.clone());
        Running { status, stop, task: tokio::spawn(run) }
    }

    /// Waits for a cursor at or behind `from`; then the newest there is: where it ends, and its `seq`.
    pub(crate) async fn next_cursor(&self, from: Offset) -> (Offset, u64) {
        let at = TopicPartition::new(self.topics.ingest(), 0);
        loop {
            let mut fetched = self.log.fetch(&at, from, FetchBounds::waiting(Duration::from_secs(30))).await.unwrap();
            let Some(last) = fetched.records.pop() else { continue };
            let value: Value = serde_json::from_slice(last.record.value.as_ref().unwrap()).unwrap();
            return (last.offset.next(), value["seq"].as_u64().unwrap());
        }
    }

    /// Waits until the cursor of `upstream` is at `seq`.
    pub(crate) async fn cursor_reaches(&self, upstream: &str, seq: u64) {
        let (at, mut from) = (TopicPartition::new(self.topics.ingest(), 0), Offset::ZERO);
        loop {
            let fetched = self.log.fetch(&at, from, FetchBounds::waiting(Duration::from_secs(30))).await.unwrap();
            from = fetched.next;
            let reached = |record: &Record| {
                let value: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
                record.key.as_deref() == Some(upstream.as_bytes()) && value["seq"] == seq
            };
            if fetched.records.iter().any(|stored| reached(&stored.record)) {
                return;
            }
        }
    }

    pub(crate) fn partition(&self, partition: u32) -> TopicPartition {
        TopicPartition::new(self.topics.firehose(), partition)
    }

    /// Waits until each partition holds as many events as `expected` has for it; then all there is.
    pub(crate) async fn events(&self, expected: &[Expected]) -> Vec<Vec<Record>> {
        let mut partitions = Vec::new();
        for partition in 0..PARTITIONS {
            let count = expected.iter().filter(|event| event.partition == partition).count();
            partitions.push(self.records(&self.partition(partition), count).await);
        }
        partitions
    }

    /// Waits for `count` records, and reads what is there.
    pub(crate) async fn records(&self, at: &TopicPartition, count: usize) -> Vec<Record> {
        let (mut records, mut from) = (Vec::new(), Offset::ZERO);
        loop {
            let wait = if records.len() < count { Duration::from_secs(30) } else { Duration::ZERO };
            let fetched = self.log.fetch(at, from, FetchBounds::waiting(wait)).await.unwrap();
            from = fetched.next;
            records.extend(fetched.records.into_iter().map(|stored| stored.record));
            if records.len() >= count && fetched.next >= fetched.end {
                return records;
            }
        }
    }
}

impl Running {
    /// Stops as a person would, and waits for the end.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.stop.cancel();
        self.task.await.unwrap()
    }

    /// Ends it wherever it stands, as a crash would.
    pub(crate) async fn abort(self) {
        self.task.abort();
        drop(self.task.await);
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(self) -> Result<(), Error> {
        self.task.await.unwrap()
    }
}

/// An event that must arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) partition: u32,
    pub(crate) id: String,
}

/// The events of these frames in their order, computed frame by frame.
pub(crate) fn expected(frames: &[Bytes]) -> Vec<Expected> {
    let mut expected = Vec::new();
    for frame in frames {
        let mut events = fpaas_ingest::Events::new();
        if let Ok(frame) = Frame::parse(frame) {
            fpaas_ingest::convert(&frame, &mut fpaas_ingest::Stamps::default(), 0, &mut events);
        }
        expected.extend(events.into_records().map(|record| Expected {
            partition: partition::of_key(record.key.as_deref().unwrap(), PARTITIONS).0,
            id: record.headers.get_str("id").unwrap().to_owned(),
        }));
    }
    expected
}

/// What is in the topic is what was expected: each once, in order within each partition, `time_us` rising.
pub(crate) fn assert_exactly(partitions: &[Vec<Record>], expected: &[Expected]) {
    for (at, records) in partitions.iter().enumerate() {
        let ids: Vec<_> = records.iter().map(|record| record.headers.get_str("id").unwrap()).collect();
        let expected = expected.iter().filter(|event| event.partition as usize == at);
        let expected: Vec<_> = expected.map(|event| event.id.as_str()).collect();
        assert!(ids == expected, "partition {at}: {} events, {} expected", ids.len(), expected.len());
        let times: Vec<_> = records.iter().map(time_us).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "time_us rises in partition {at}");
    }
}

pub(crate) fn time_us(record: &Record) -> i64 {
    let event: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
    event["time_us"].as_i64().unwrap()
}

/// What the relay does once a connection was served the frames behind its cursor.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// Stays silent, with the connection open.
    Idle,
    /// Sends these too, then stays silent.
    Send(Vec<Message>),
    /// Sends this too, then closes the connection.
    End(Message),
}

/// One connection's script: at most so many frames and then the line is cut, or all and then something else.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    Cut(usize),
    All(Then),
}

/// A dialled connection, as the relay saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dialled {
    pub(crate) cursor: Option<u64>,
    pub(crate) path: String,
    pub(crate) user_agent: String,
}

/// A relay: each connection follows the next script, the last one for ever.
pub(crate) struct Relay {
    address: SocketAddr,
    dialled: mpsc::Receiver<Dialled>,
    task: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn serve(frames: Vec<Bytes>, scripts: Vec<Script>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), frames, scripts)
    }

    /// Another relay at the same address.
    pub(crate) async fn replaced(mut self, frames: Vec<Bytes>, scripts: Vec<Script>) -> Self {
        let address = self.address;
        self.task.abort();
        // Until it has let go of the address.
        drop((&mut self.task).await);
        Self::on(TcpListener::bind(address).await.unwrap(), frames, scripts)
    }

    /// A relay that answers from now on those who have come to `listener`.
    pub(crate) fn on(listener: TcpListener, frames: Vec<Bytes>, scripts: Vec<Script>) -> Self {
        let address = listener.local_addr().unwrap();
        let (sender, dialled) = mpsc::channel(100);
        let task = tokio::spawn(async move {
            for at in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let script = scripts[at.min(scripts.len() - 1)].clone();
                // A connection that ends early is what is tested.
                drop(connection(socket, &frames, script, &sender).await);
            }
        });
        Self { address, dialled, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub(crate) async fn dialled(&mut self) -> Dialled {
        self.dialled.recv().await.unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(
    socket: TcpStream,
    frames: &[Bytes],
    script: Script,
    dialled: &mpsc::Sender<Dialled>,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let mut request = None;
    #[expect(clippy::result_large_err, reason = "the library's own callback type")]
    let seen = |from: &Request, response: Response| {
        request = Some(dialled_by(from));
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(socket, seen).await?;
    let request = request.unwrap();
    let cursor = request.cursor;
    dialled.send(request).await.unwrap();
    let behind = |frame: &&Bytes| {
        let seq = Frame::parse(frame).ok().and_then(|frame| frame.seq());
        seq.is_none_or(|seq| cursor.is_none_or(|cursor| seq > cursor))
    };
    let max = if let Script::Cut(max) = script { max } else { usize::MAX };
    for frame in frames.iter().filter(behind).take(max) {
        socket.feed(Message::Binary(frame.clone())).await?;
    }
    socket.flush().await?;
    let (last, end) = match script {
        Script::Cut(_) => return Ok(()),
        Script::All(Then::Idle) => (vec![], false),
        Script::All(Then::Send(messages)) => (messages, false),
        Script::All(Then::End(message)) => (vec![message], true),
    };
    for message in last {
        socket.send(message).await?;
    }
    if end {
        return socket.close(None).await;
    }
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}

fn dialled_by(request: &Request) -> Dialled {
    let query = request.uri().query().unwrap_or_default();
    Dialled {
        cursor: query.strip_prefix("cursor=").map(|cursor| cursor.parse().unwrap()),
        path: request.uri().path().to_owned(),
        user_agent: request.headers()["user-agent"].to_str().unwrap().to_owned(),
    }
}

/// A recording of these frames in a folder that goes away with it.
pub(crate) struct RecordingFile(TempDir);

impl RecordingFile {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// What the file holds from now on.
    pub(crate) fn write(&self, frames: &[Bytes]) {
        let prefixed = frames.iter().flat_map(|frame| [&(frame.len() as u32).to_le_bytes()[..], frame].concat());
        std::fs::write(self.0.path().join("frames.bin"), prefixed.collect::<Vec<_>>()).unwrap();
    }

    pub(crate) fn upstream(&self) -> String {
        format!("file:{}", self.0.path().join("frames.bin").display())
    }
}

/// Counts of what was dropped, without zeros.
pub(crate) fn drops(status: &Status) -> HashMap<&'static str, u64> {
    status.drops().filter(|(_, count)| *count > 0).map(|(reason, count)| (reason.label(), count)).collect()
}
