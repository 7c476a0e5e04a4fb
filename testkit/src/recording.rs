//! A recording: frames as they came, `[u32 LE length][frame]`, plain or `.zst`.
//!
//! Of a frame only `seq` and `time` are read, by a CBOR library and not by our decoder.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use ciborium::Value;

/// One message of `subscribeRepos`.
#[derive(Clone, Debug)]
pub struct Frame {
    /// As it came.
    pub bytes: Bytes,
    /// Its place in the upstream's order; error frames have none.
    pub seq: Option<u64>,
    /// When the upstream sent it, RFC 3339.
    pub time: Option<String>,
}

/// Frames in the order they came.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// All of them.
    pub frames: Vec<Frame>,
}

impl Recording {
    /// The one that comes with the repository.
    pub fn bundled() -> Result<Self> {
        Self::read(&crate::bundled().join("frames.bin.zst"))
    }

    /// Reads a file.
    pub fn read(file: &Path) -> Result<Self> {
        let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
        let zst = file.extension().is_some_and(|extension| extension == "zst");
        let mut rest = Bytes::from(if zst { zstd::decode_all(bytes.as_slice())? } else { bytes });
        let mut frames = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            anyhow::ensure!(after.len() >= length, "the recording ends within a frame");
            let frame = rest.slice(4..4 + length);
            rest = rest.slice(4 + length..);
            frames.push(Frame::read(frame)?);
        }
        anyhow::ensure!(rest.is_empty(), "the recording ends within a length");
        Ok(Self { frames })
    }

    /// Writes frames as a plain recording.
    pub fn write(&self, file: &Path) -> Result<()> {
        let mut bytes = Vec::new();
        for frame in &self.frames {
            bytes.extend_from_slice(&u32::try_from(frame.bytes.len())?.to_le_bytes());
            bytes.extend_from_slice(&frame.bytes);
        }
        Ok(std::fs::write(file, bytes)?)
    }
}

impl Frame {
    fn read(bytes: Bytes) -> Result<Self> {
        let mut cursor = Cursor::new(&bytes);
        let _header: Value = ciborium::from_reader(&mut cursor).context("a frame's header")?;
        let body: Value = ciborium::from_reader(&mut cursor).context("a frame's body")?;
        let field = |name: &str| {
            let fields = body.as_map().map(Vec::as_slice).unwrap_or_default();
            fields.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value)
        };
        let seq = field("seq").and_then(Value::as_integer).and_then(|seq| u64::try_from(seq).ok());
        let time = field("time").and_then(Value::as_text).map(str::to_owned);
        Ok(Self { seq, time, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_recording_has_1985_frames_in_rising_order() {
        let recording = Recording::bundled().unwrap();
        let seqs: Vec<_> = recording.frames.iter().map(|frame| frame.seq.unwrap()).collect();
        assert_eq!(seqs.len(), 1985);
        assert!(seqs.is_sorted_by(|before, after| before < after));
    }

    #[test]
    fn a_written_recording_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("frames.bin");
        let some = Recording { frames: Recording::bundled().unwrap().frames[..3].to_vec() };
        some.write(&file).unwrap();
        let read = Recording::read(&file).unwrap();
        assert_eq!(read.frames.iter().map(|frame| frame.seq).collect::<Vec<_>>().len(), 3);
        std::fs::write(&file, [9, 0, 0, 0, 1]).unwrap();
        assert!(Recording::read(&file).unwrap_err().to_string().contains("within a frame"));
    }
}
