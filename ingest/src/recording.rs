//! A recording as an upstream: its frames from the cursor on, at the speed of the machine or of their own times.
//!
//! The file is read in short turns on the blocking pool, never ahead of what the decoder takes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::{Timestamp, limits, rfc3339};
use tokio::time::Instant;

use crate::course::Course;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::inbox::{Closed, Outbox};
use crate::status::{State, Status};
use crate::upstream::{Recording, Speed};

/// The magic of a zstd frame (RFC 8878, section 3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// What one turn on the blocking pool reads.
const TURN_FRAMES: usize = 256;
const TURN_BYTES: usize = 1024 * 1024;
/// The longest recording: what is above it overflows a clock.
const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// The frames of a recording: `[u32 LE length][frame]`, plain or zstd. An error ends it.
pub struct Frames(Box<dyn Read + Send>);

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Frames")
    }
}

impl Frames {
    /// Opens the file; its first bytes say whether it is compressed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(256 * 1024, File::open(path)?);
        if file.fill_buf()?.starts_with(&ZSTD) {
            return Ok(Self(Box::new(zstd::stream::read::Decoder::with_buffer(file)?)));
        }
        Ok(Self(Box::new(file)))
    }

    fn read(&mut self) -> io::Result<Option<Bytes>> {
        let mut length = [0; 4];
        if !fill(&mut self.0, &mut length)? {
            return Ok(None);
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > limits::MESSAGE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        let mut frame = vec![0; length];
        self.0.read_exact(&mut frame)?;
        Ok(Some(frame.into()))
    }

    /// The next few frames, and whether (and why) that was the last of it.
    fn turn(&mut self) -> (Vec<Bytes>, Option<io::Result<()>>) {
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while frames.len() < TURN_FRAMES && bytes < TURN_BYTES {
            match self.next() {
                Some(Ok(frame)) => {
                    bytes += frame.len();
                    frames.push(frame);
                }
                Some(Err(error)) => return (frames, Some(Err(error))),
                None => return (frames, Some(Ok(()))),
            }
        }
        (frames, None)
    }
}

impl Iterator for Frames {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// Fills `buffer`; false at the end of the file, an error in the middle of it.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let (first, rest) = buffer.split_at_mut(1);
    let read = loop {
        match from.read(first) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    if read > 0 {
        from.read_exact(rest)?;
    }
    Ok(read > 0)
}

/// Sends the frames behind `cursor`, then says that it is finished. What a cut or broken file still holds is sent; that
/// there was more is counted.
pub(crate) async fn run(recording: Recording, cursor: Option<u64>, outbox: Outbox, status: &Status) -> Result<()> {
    let opened = Frames::open(&recording.path);
    let mut frames = opened.map_err(|source| Error::Recording { path: recording.path.clone(), source })?;
    status.set(outbox.upstream(), State::Connected);
    let mut behind = Behind(cursor.map(|cursor| Course::behind(Some(cursor))));
    let mut pace = Pace { speed: recording.speed, start: None };
    loop {
        let turn = tokio::task::spawn_blocking(move || {
            let turn = frames.turn();
            (frames, turn)
        });
        let (returned, (turn, end)) = turn.await.map_err(|error| Error::Task(error.to_string()))?;
        frames = returned;
        if send(&turn, &mut behind, &mut pace, &outbox).await.is_err() {
            return Ok(());
        }
        if let Some(end) = end {
            // A closed outbox means that ingest stops: then nobody waits for the end.
            return finish(&recording.path, end, &outbox).await.or(Ok(()));
        }
    }
}

async fn finish(path: &Path, end: io::Result<()>, outbox: &Outbox) -> Result<(), Closed> {
    if let Err(error) = end {
        let why = match error.kind() {
            io::ErrorKind::UnexpectedEof => "it ends in the middle of a frame".to_owned(),
            _ => error.to_string(),
        };
        tracing::warn!("the recording {} breaks off: {why}; what it held before that is taken", path.display());
        outbox.broken_off().await?;
    }
    outbox.finished().await
}

async fn send(frames: &[Bytes], behind: &mut Behind, pace: &mut Pace, outbox: &Outbox) -> Result<(), Closed> {
    for frame in frames {
        if behind.takes(frame) {
            pace.wait(frame).await;
            outbox.frame(frame.clone()).await?;
        }
    }
    Ok(())
}

/// Passes over what the cursor stands for: everything before the first frame whose `seq` goes on from it.
struct Behind(Option<Course>);

impl Behind {
    fn takes(&mut self, frame: &[u8]) -> bool {
        let Some(course) = &mut self.0 else { return true };
        let seq = Frame::parse(frame).ok().and_then(|frame| frame.seq());
        let above = seq.is_some_and(|seq| course.admit(seq).is_ok());
        if above {
            self.0 = None;
        }
        above
    }
}

/// Lets a frame wait until its time has come, counted from the first frame that was sent.
struct Pace {
    speed: Speed,
    start: Option<(Timestamp, Instant)>,
}

impl Pace {
    async fn wait(&mut self, frame: &[u8]) {
        let Speed::Times(times) = self.speed else { return };
        let time = Frame::parse(frame).ok().and_then(|frame| frame.time()).and_then(rfc3339::parse);
        let Some(time) = time else { return };
        let (first, start) = *self.start.get_or_insert_with(|| (time, Instant::now()));
        let due = start + time.since(first).min(SPAN_MAX).div_f64(times);
        // A frame from the far future, by a broken clock, must not end the play.
        let latest = Instant::now() + limits::RECORDING_PAUSE_MAX;
        tokio::time::sleep_until(due.min(latest)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::{self, What};
    use crate::upstream::Upstream;

    const PDS20: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/pds20/frames.bin.zst");

    /// Plays the recording and says when each frame came.
    async fn play(speed: &str, cursor: Option<u64>) -> Vec<(u64, Duration)> {
        let upstream = Upstream::parse(&format!("file:{PDS20}?speed={speed}")).unwrap();
        let status = Status::new(std::slice::from_ref(&upstream));
        let Upstream::Recording(recording) = upstream else { panic!("a recording") };
        let (mut outboxes, mut inbox) = inbox::channel(1);
        let (start, mut played) = (Instant::now(), Vec::new());
        let sending = run(recording, cursor, outboxes.remove(0), &status);
        let receiving = async {
            while let Some(arrival) = inbox.recv().await {
                if let What::Frame(frame) = &arrival.what {
                    played.push((Frame::parse(frame).unwrap().seq().unwrap(), start.elapsed()));
                }
            }
        };
        let (sent, ()) = tokio::join!(sending, receiving);
        sent.unwrap();
        played
    }

    #[tokio::test(start_paused = true)]
    async fn a_paced_recording_takes_as_long_as_its_frames_say() {
        let times: Vec<_> = Frames::open(Path::new(PDS20)).unwrap().map(Result::unwrap).collect();
        let time = |at: usize| rfc3339::parse(Frame::parse(&times[at]).unwrap().time().unwrap()).unwrap();
        for (speed, times_as_fast) in [("1x", 1.0), ("10x", 10.0)] {
            let played = play(speed, None).await;
            assert_eq!(played.len(), 1985);
            for at in [0, 500, 1984] {
                let due = time(at).since(time(0)).div_f64(times_as_fast);
                assert!(
                    played[at].1.abs_diff(due) < Duration::from_millis(50),
                    "frame {at}: {:?} {due:?}",
                    played[at].1
                );
            }
        }
        assert_eq!(play("max", None).await[1984].1, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_play_starts_at_the_frame_behind_the_cursor_without_waiting_for_it() {
        let whole = play("max", None).await;
        let cursor = whole[1000].0;
        let played = play("1x", Some(cursor)).await;
        assert_eq!(played.len(), 984);
        assert_eq!(played[0], (whole[1001].0, Duration::ZERO));
        assert!(play("1x", Some(u64::MAX)).await.is_empty());
    }
}
