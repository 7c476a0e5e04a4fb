//! Steps and cursors without a log: whatever an upstream mixes in between, and wherever the process dies, every good
//! frame is taken once and in order, and the cursor is the last one of an unbroken row. Invariant:
//! offsets-with-effects.

use ciborium::Value as Cbor;
use fpaas_core::ManualClock;
use proptest::prelude::*;

use super::*;
use crate::inbox;

/// One message of an upstream, as it sends it every time it is asked for what is behind a cursor.
#[derive(Clone, Debug)]
enum Sent {
    /// Its `seq` is above the last one's by so much. Makes an event, or is dropped for what is in it.
    Good {
        step: u64,
        event: bool,
    },
    /// Of a type to come, with any `seq`.
    Unknown(u64),
    /// Does not rise.
    Stale(u64),
    /// Leaps.
    Leap(u64),
    Garbage(Vec<u8>),
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        6 => (1..1_000_000u64, any::<bool>()).prop_map(|(step, event)| Sent::Good { step, event }),
        1 => any::<u64>().prop_map(Sent::Unknown),
        1 => any::<u64>().prop_map(Sent::Stale),
        1 => any::<u64>().prop_map(Sent::Leap),
        1 => proptest::collection::vec(any::<u8>(), 0..9).prop_map(Sent::Garbage),
    ]
}

/// A message and the `seq` by which its upstream finds it again, if it is one of its own row.
struct Served {
    bytes: Vec<u8>,
    seq: Option<u64>,
    id: Option<String>,
}

fn served(stream: &[Sent]) -> Vec<Served> {
    // A leap that goes on from the one before would rightly be believed: each is below the last.
    let (mut last, mut leap) = (1000, limits::SEQ_MAX);
    let one = |sent: &Sent| match sent {
        Sent::Good { step, event } => {
            last += step;
            let did = format!("did:plc:{last}");
            let id = event.then(|| fpaas_core::event::sync_id(&did, REV));
            let bytes = if *event { sync(last, &did) } else { empty_too_big(last) };
            Served { bytes, seq: Some(last), id }
        }
        Sent::Unknown(seq) => Served { bytes: message("#new", &[("seq", (*seq >> 1).into())]), seq: None, id: None },
        Sent::Stale(below) => Served { bytes: sync(below % (last + 1), "did:plc:stale"), seq: None, id: None },
        Sent::Leap(above) => {
            leap -= 1 + above % (1 << 40);
            Served { bytes: sync(leap, "did:plc:leap"), seq: None, id: None }
        }
        Sent::Garbage(bytes) => Served { bytes: bytes.clone(), seq: None, id: None },
    };
    stream.iter().map(one).collect()
}

const REV: &str = "3n2xs7smpiz2q";

fn message(kind: &str, fields: &[(&str, Cbor)]) -> Vec<u8> {
    let map =
        |fields: &[(&str, Cbor)]| Cbor::Map(fields.iter().map(|(key, value)| ((*key).into(), value.clone())).collect());
    let mut bytes = Vec::new();
    ciborium::into_writer(&map(&[("t", kind.into()), ("op", 1.into())]), &mut bytes).unwrap();
    ciborium::into_writer(&map(fields), &mut bytes).unwrap();
    bytes
}

fn sync(seq: u64, did: &str) -> Vec<u8> {
    message("#sync", &[("did", did.into()), ("rev", REV.into()), ("seq", seq.into()), ("time", "".into())])
}

fn empty_too_big(seq: u64) -> Vec<u8> {
    let (ops, blocks) = (Cbor::Array(vec![]), Cbor::Bytes(vec![]));
    let fields = [("repo", "did:plc:big".into()), ("rev", REV.into()), ("seq", seq.into()), ("time", "".into())];
    message("#commit", &[&fields[..], &[("ops", ops), ("blocks", blocks), ("tooBig", true.into())]].concat())
}

/// What is durable: the ids of the events, and the cursor.
#[derive(Default)]
struct Durable {
    ids: Vec<String>,
    cursor: Option<u64>,
    time_us: i64,
}

impl Durable {
    /// Asks for what is behind the cursor, and commits steps until `steps` are used up: then the process dies.
    async fn run(&mut self, stream: &[Served], chunk: usize, steps: &mut usize) {
        let behind =
            stream.iter().rposition(|sent| sent.seq.is_some() && sent.seq <= self.cursor).map_or(0, |at| at + 1);
        let (outboxes, mut inbox) = inbox::channel(1);
        let mut decoder = Decoder {
            seen: Seen::new(&[self.cursor]),
            stamps: Stamps::after(self.time_us),
            clock: Arc::new(ManualClock::default()),
            firehose: vec![TopicPartition::new("firehose", 0)],
            arrivals: VecDeque::new(),
        };
        for sent in stream[behind..].chunks(chunk) {
            for message in sent {
                outboxes[0].frame(message.bytes.clone().into()).await.unwrap();
                decoder.arrivals.extend(inbox.recv().await);
            }
            while !decoder.arrivals.is_empty() {
                let step = decoder.step();
                if *steps == 0 {
                    return;
                }
                *steps -= 1;
                self.commit(step);
            }
        }
    }

    fn commit(&mut self, step: Step) {
        let reached = step.reached.first().map(|(_, seq)| *seq);
        assert!(reached.is_none_or(|seq| Some(seq) >= self.cursor), "the cursor never goes back");
        self.cursor = reached.or(self.cursor);
        self.time_us = step.time_us;
        let id = |append: &fpaas_log::Append| append.record.headers.get_str("id").unwrap().to_owned();
        self.ids.extend(step.transaction.appends.iter().map(id));
    }
}

proptest! {
    #[test]
    fn the_cursor_is_a_contiguous_low_water_mark_under_hostile_seqs_and_crashes(
        stream in proptest::collection::vec(sent(), 1..80),
        lives in proptest::collection::vec((1..20usize, 0..6usize), 0..6),
    ) {
        let stream = served(&[vec![Sent::Good { step: 1, event: true }], stream].concat());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut durable = Durable::default();
        for (chunk, mut steps) in lives.into_iter().chain([(7, usize::MAX)]) {
            runtime.block_on(durable.run(&stream, chunk, &mut steps));
            let below = stream.iter().filter(|sent| sent.seq.is_some() && sent.seq <= durable.cursor);
            let owed: Vec<_> = below.filter_map(|sent| sent.id.clone()).collect();
            prop_assert_eq!(&durable.ids, &owed, "what is durable is what is below the cursor");
        }
        prop_assert_eq!(durable.cursor, stream.iter().filter_map(|sent| sent.seq).max());
    }
}

#[tokio::test]
async fn a_step_takes_no_more_frames_than_its_bound_though_nothing_comes_of_them() {
    let (outboxes, mut inbox) = inbox::channel(1);
    let mut durable = Durable::default();
    let mut decoder = Decoder {
        seen: Seen::new(&[None]),
        stamps: Stamps::default(),
        clock: Arc::new(ManualClock::default()),
        firehose: vec![TopicPartition::new("firehose", 0)],
        arrivals: VecDeque::new(),
    };
    for _ in 0..6 {
        outboxes[0].frame(vec![0xff; limits::FRAME_BYTES_MAX].into()).await.unwrap();
        decoder.arrivals.extend(inbox.recv().await);
    }
    let mut taken = Vec::new();
    while !decoder.arrivals.is_empty() {
        let step = decoder.step();
        taken.push(step.counts.frames);
        durable.commit(step);
    }
    assert_eq!((taken, durable.cursor), (vec![2, 2, 2], None));
}
