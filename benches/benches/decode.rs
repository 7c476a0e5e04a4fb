//! Frames to events, on one core, in memory; beside the usual Rust stack and beside SHA-256 alone, in the same run.
//!
//! The peer does what a program on `serde_ipld_dagcbor` does: header and body typed, the CAR cut with `cid`, SHA-256 of
//! every block, every block to a value. It writes no JSON. Each is measured in turns, and the median turn counts.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cid::Cid;
use fpaas_ingest::{Events, Frame, Frames, Stamps, convert};
use ipld_core::ipld::Ipld;
use serde::Deserialize;
use serde_ipld_dagcbor::de::Deserializer;
use sha2::{Digest, Sha256};

const TURNS: usize = 15;

fn main() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/pds20/frames.bin.zst");
    let frames = Frames::open(&path)?.collect::<std::io::Result<Vec<Bytes>>>()?;
    let bytes: usize = frames.iter().map(Bytes::len).sum();
    println!("{} frames of {} bytes on average", frames.len(), bytes / frames.len());
    let (mut ours, mut peers, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    let mut events = Events::new();
    for _ in 0..TURNS {
        ours.push(time(|| decode_all(&frames, &mut events))?);
        peers.push(time(|| frames.iter().try_for_each(|frame| peer(frame).map(drop)))?);
        hashes.push(time(|| frames.iter().try_for_each(|frame| hash_only(frame)))?);
    }
    let ours = report("fpaas-ingest: frame to JSON and headers, record blocks hashed", ours, frames.len());
    let peer = report("serde_ipld_dagcbor: every block hashed and to a value", peers, frames.len());
    let hash = report("SHA-256 of every byte of a frame, nothing else", hashes, frames.len());
    println!("ours / peer {:.2} times; ours / SHA-256 {:.2} times", ours / peer, ours / hash);
    Ok(())
}

fn time(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn report(name: &str, mut turns: Vec<Duration>, frames: usize) -> f64 {
    turns.sort_unstable();
    let median = turns.get(turns.len() / 2).copied().unwrap_or_default();
    let rate = frames as f64 / median.as_secs_f64();
    println!("{name:<64} {rate:>10.0} frames/s");
    rate
}

fn decode_all(frames: &[Bytes], events: &mut Events) -> Result<()> {
    let mut stamps = Stamps::default();
    events.clear();
    for frame in frames {
        convert(&Frame::parse(frame)?, &mut stamps, 1_700_000_000_000_000, events);
    }
    ensure!(events.drops().total() == 0 && events.len() > frames.len(), "every frame is good");
    black_box(events.bytes());
    Ok(())
}

#[derive(Deserialize)]
struct Header {
    t: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "what a program would read")]
struct Commit {
    seq: i64,
    repo: String,
    rev: String,
    time: String,
    ops: Vec<Op>,
    #[serde(with = "serde_bytes")]
    blocks: Vec<u8>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "what a program would read")]
struct Op {
    action: String,
    path: String,
    cid: Option<Cid>,
}

fn peer(frame: &[u8]) -> Result<usize> {
    let mut reader = Deserializer::from_slice(frame);
    let header = Header::deserialize(&mut reader)?;
    if header.t != "#commit" {
        black_box(Ipld::deserialize(&mut reader)?);
        return Ok(0);
    }
    let commit = Commit::deserialize(&mut reader)?;
    let mut car = commit.blocks.as_slice();
    section(&mut car)?;
    let mut blocks = 0;
    while !car.is_empty() {
        let mut block = section(&mut car)?;
        let cid = Cid::read_bytes(&mut block)?;
        ensure!(cid.hash().digest() == Sha256::digest(block).as_slice(), "the block is its CID's");
        black_box(serde_ipld_dagcbor::from_slice::<Ipld>(block)?);
        blocks += 1;
    }
    black_box(commit);
    Ok(blocks)
}

/// A length and that many bytes.
fn section<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let mut length = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first().context("a length")?;
        *bytes = rest;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (section, rest) = bytes.split_at_checked(length).context("a section")?;
    *bytes = rest;
    Ok(section)
}

fn hash_only(frame: &[u8]) -> Result<()> {
    black_box(Sha256::digest(frame));
    Ok(())
}
