//! As much of Kafka's protocol (kafka.apache.org/protocol) as shows what a broker holds. No client of ours: theirs are
//! what brokers are for.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use std::io::{Read as _, Write as _};

const LONG: Duration = Duration::from_secs(30);

/// Unknown topic, no leader yet, not the leader, and a coordinator or copy that is not there yet: all pass.
const PASSING: [i16; 5] = [3, 5, 6, 15, 19];

/// One connection.
pub(crate) struct Wire(TcpStream);

/// What a broker says of a cluster.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// `node.id` to address.
    pub(crate) brokers: Vec<(i32, String)>,
    /// Of the topic asked for; 3 where there is none.
    pub(crate) error: i16,
    /// The leaders of its partitions.
    pub(crate) leaders: Vec<i32>,
}

impl Wire {
    pub(crate) fn to(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, LONG)?;
        stream.set_read_timeout(Some(LONG))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// How long an answer may take.
    pub(crate) fn patience(&self, limit: Duration) -> Result<()> {
        Ok(self.0.set_read_timeout(Some(limit))?)
    }

    pub(crate) fn api_versions(&mut self) -> Result<()> {
        let answer = self.call(18, 0, &[])?;
        ensure!(answer.get(..2) == Some(&[0, 0]), "the broker answered with an error");
        Ok(())
    }

    /// Whether clients may log in so: SaslHandshake, version 1.
    pub(crate) fn sasl(&mut self, mechanism: &str) -> Result<i16> {
        Reader(&self.call(17, 1, &text(mechanism))?).int16()
    }

    /// With one partition.
    pub(crate) fn create(&mut self, topic: &str, copies: i16) -> Result<()> {
        let topic = [&text(topic)[..], &1i32.to_be_bytes(), &copies.to_be_bytes(), &[0; 8]].concat();
        let answer = self.call(19, 2, &[&1i32.to_be_bytes()[..], &topic, &10_000i32.to_be_bytes(), &[0]].concat())?;
        let mut reader = Reader(&answer);
        reader.skip(8)?;
        reader.text()?;
        let error = reader.int16()?;
        ensure!(error == 0, "the topic was not created: error {error}");
        Ok(())
    }

    /// To partition 0, acknowledged by all copies; its offset.
    pub(crate) fn append(&mut self, topic: &str, value: &str) -> Result<i64> {
        settled(|| self.offer(topic, value))
    }

    fn offer(&mut self, topic: &str, value: &str) -> Result<Result<i64, i16>> {
        let batch = batch(value);
        let batch = [&0i32.to_be_bytes()[..], &size(&batch), &batch].concat();
        let data = [&1i32.to_be_bytes()[..], &text(topic), &1i32.to_be_bytes(), &batch].concat();
        let answer = self.call(0, 3, &[&[0xff; 4][..], &10_000i32.to_be_bytes(), &data].concat())?;
        let mut reader = Reader(&answer);
        reader.skip(4)?;
        reader.text()?;
        reader.skip(8)?;
        let error = reader.int16()?;
        Ok(if error == 0 { Ok(reader.int64()?) } else { Err(error) })
    }

    /// Everything in partition 0, as the broker keeps it.
    pub(crate) fn records(&mut self, topic: &str) -> Result<String> {
        settled(|| self.fetch(topic))
    }

    fn fetch(&mut self, topic: &str) -> Result<Result<String, i16>> {
        let limits = [(-1i32).to_be_bytes(), 500i32.to_be_bytes(), 1i32.to_be_bytes(), 1_000_000i32.to_be_bytes()];
        let from = [&0i32.to_be_bytes()[..], &0i64.to_be_bytes(), &1_000_000i32.to_be_bytes()].concat();
        let topic = [&1i32.to_be_bytes()[..], &text(topic), &1i32.to_be_bytes(), &from].concat();
        let answer = self.call(1, 4, &[&limits.concat()[..], &[0], &topic].concat())?;
        let mut reader = Reader(&answer);
        reader.skip(8)?;
        reader.text()?;
        reader.skip(8)?;
        let error = reader.int16()?;
        Ok(if error == 0 { Ok(String::from_utf8_lossy(reader.0).into_owned()) } else { Err(error) })
    }

    pub(crate) fn metadata(&mut self, topic: &str) -> Result<Metadata> {
        let answer = self.call(3, 0, &[&1i32.to_be_bytes()[..], &text(topic)].concat())?;
        let mut reader = Reader(&answer);
        let broker = |reader: &mut Reader<'_>| {
            let (id, host) = (reader.int32()?, reader.text()?);
            Ok((id, format!("{host}:{}", reader.int32()?)))
        };
        let brokers = reader.many(broker)?;
        reader.skip(4)?;
        let error = reader.int16()?;
        reader.text()?;
        let leader = |reader: &mut Reader<'_>| {
            reader.skip(6)?;
            let leader = reader.int32()?;
            // Copies, and those in step.
            reader.many(Reader::int32)?;
            reader.many(Reader::int32)?;
            Ok(leader)
        };
        Ok(Metadata { brokers, error, leaders: reader.many(leader)? })
    }

    fn call(&mut self, key: i16, version: i16, body: &[u8]) -> Result<Vec<u8>> {
        let head = [&key.to_be_bytes()[..], &version.to_be_bytes(), &7i32.to_be_bytes(), &text("testkit")].concat();
        let request = [head, body.to_vec()].concat();
        self.0.write_all(&[&size(&request)[..], &request].concat())?;
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut answer)?;
        Ok(answer.split_off(4))
    }
}

/// Asks again while what hinders will pass: a broker tells nobody when it has.
fn settled<T>(ask: impl FnMut() -> Result<Result<T, i16>>) -> Result<T> {
    for asked in std::iter::repeat_with(ask).take(600) {
        match asked? {
            Ok(answer) => return Ok(answer),
            Err(error) => ensure!(PASSING.contains(&error), "the broker answered with error {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("it has not passed within half a minute")
}

/// Reads an answer from its front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn skip(&mut self, bytes: usize) -> Result<()> {
        self.0 = self.0.get(bytes..).context("the answer is too short")?;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk().context("the answer is too short")?;
        self.0 = rest;
        Ok(*first)
    }

    fn int16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.bytes()?))
    }

    fn int32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.bytes()?))
    }

    fn int64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.bytes()?))
    }

    fn text(&mut self) -> Result<String> {
        let length = usize::try_from(self.int16()?)?;
        let text = String::from_utf8(self.0.get(..length).context("the answer is too short")?.to_vec())?;
        self.skip(length)?;
        Ok(text)
    }

    fn many<T>(&mut self, one: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        (0..self.int32()?).map(|_| one(self)).collect()
    }
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

fn size(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap().to_be_bytes()
}

/// A record batch, version 2, of one record without key and headers, whose value is short.
fn batch(value: &str) -> Vec<u8> {
    let zigzag = |number: usize| u8::try_from(number * 2).unwrap();
    // Attributes, time, offset, no key; value; no headers.
    let record = [&[0, 0, 0, 1, zigzag(value.len())], value.as_bytes(), &[0]].concat();
    // Attributes and last offset; no times, no producer; one record.
    let checked = [&[0; 6][..], &[0xff; 16], &[0xff; 14], &1i32.to_be_bytes(), &[zigzag(record.len())], &record];
    let checked = checked.concat();
    // No leader's epoch; version 2.
    let rest = [&[0xff, 0xff, 0xff, 0xff, 2][..], &crc32c(&checked).to_be_bytes(), &checked].concat();
    [&[0; 8][..], &size(&rest), &rest].concat()
}

/// Castagnoli's polynomial, reflected.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn the_checksum_is_castagnolis() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
