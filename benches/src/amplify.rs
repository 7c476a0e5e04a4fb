//! A long recording from a short one: the same frames again and again under rising `seq`.
//!
//! Only for speed: `rev`s repeat, so nothing that checks order may be fed with it.

use std::io::{BufWriter, Cursor, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use ciborium::Value;
use fpaas_testkit::Recording;

/// Above 2^32, so that every `seq` takes 9 bytes of CBOR and can be replaced in place.
const FIRST: u64 = 1 << 33;

/// Writes `copies` of the bundled recording to `file`; answers how many frames that is.
pub fn write(file: &Path, copies: u64) -> Result<u64> {
    let frames = Recording::bundled()?.frames;
    let templates: Vec<_> = frames.iter().map(|frame| template(&frame.bytes)).collect::<Result<_>>()?;
    let mut out = BufWriter::new(std::fs::File::create(file)?);
    let mut seq = FIRST;
    for _ in 0..copies {
        for (bytes, at) in &templates {
            out.write_all(&u32::try_from(bytes.len())?.to_le_bytes())?;
            out.write_all(&bytes[..*at])?;
            out.write_all(&seq.to_be_bytes())?;
            out.write_all(&bytes[at + 8..])?;
            seq += 1;
        }
    }
    out.flush()?;
    Ok(seq - FIRST)
}

/// A frame with a 9-byte `seq`, and where its 8 bytes are.
fn template(frame: &[u8]) -> Result<(Vec<u8>, usize)> {
    let mut cursor = Cursor::new(frame);
    let header: Value = ciborium::from_reader(&mut cursor)?;
    let mut body: Value = ciborium::from_reader(&mut cursor)?;
    let fields = body.as_map_mut().context("a body that is no map")?;
    let seq = fields.iter_mut().find(|(key, _)| key.as_text() == Some("seq")).context("a frame without seq")?;
    seq.1 = FIRST.into();
    let mut bytes = Vec::new();
    ciborium::into_writer(&header, &mut bytes)?;
    ciborium::into_writer(&body, &mut bytes)?;
    let marker = [b"\x63seq\x1b".as_slice(), &FIRST.to_be_bytes()].concat();
    let at = bytes.windows(marker.len()).position(|window| window == marker).context("seq is not found again")?;
    Ok((bytes, at + 5))
}
