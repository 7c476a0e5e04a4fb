//! A record's block, straight from DAG-CBOR to compact JSON; keys stay in the block's order. Pure; no tree in between.
//!
//! Refuses what atproto.com/specs/data-model does not know, since its JSON would lie about the record: floats, keys out
//! of order or twice, maps that look like a link or bytes, a `$type` that is no name, half a blob. Gives up where the
//! JSON gets longer than a record that is taken in may be.

use fpaas_core::limits;

use crate::cbor::{Item, Reader, deeper};
use crate::gate::DropReason;
use crate::{cid, json};

/// Appends the JSON of the record in `block` to `out`. After an error the end of `out` is anything.
pub(crate) fn write(out: &mut Vec<u8>, block: &[u8]) -> Result<(), DropReason> {
    let mut reader = Reader::new(block);
    let Item::Map(entries) = reader.item()? else { return Err(DropReason::RecordNotMap) };
    map(out, &mut reader, entries, Place { depth: 1, end: out.len() + limits::SOURCE_RECORD_BYTES_MAX })?;
    reader.finish()
}

/// How deep a value lies, and where all of the JSON must end.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    end: usize,
}

impl Place {
    fn inside(self) -> Result<Self, DropReason> {
        Ok(Self { depth: deeper(self.depth)?, ..self })
    }

    #[inline]
    fn check(self, out: &[u8]) -> Result<(), DropReason> {
        if out.len() <= self.end { Ok(()) } else { Err(DropReason::OpTooLarge) }
    }
}

/// What a value was, as far as its map must know.
#[derive(Clone, Copy)]
enum Shape<'a> {
    Text(&'a str),
    Integer,
    Link,
    Other,
}

#[inline]
fn value<'a>(out: &mut Vec<u8>, reader: &mut Reader<'a>, place: Place) -> Result<Shape<'a>, DropReason> {
    match reader.item()? {
        Item::Text(text) => {
            json::string(out, text);
            return Ok(Shape::Text(text));
        }
        Item::Integer(number) => {
            json::integer(out, number);
            return Ok(Shape::Integer);
        }
        Item::Link(bytes) => {
            link(out, bytes);
            return Ok(Shape::Link);
        }
        Item::Map(entries) => map(out, reader, entries, place.inside()?)?,
        Item::Array(items) => array(out, reader, items, place.inside()?)?,
        Item::Bytes(bytes) => wrapped(out, b"{\"$bytes\":\"", |out| json::base64(out, bytes)),
        Item::Bool(true) => out.extend_from_slice(b"true"),
        Item::Bool(false) => out.extend_from_slice(b"false"),
        Item::Null => out.extend_from_slice(b"null"),
    }
    Ok(Shape::Other)
}

fn map(out: &mut Vec<u8>, reader: &mut Reader<'_>, entries: u64, place: Place) -> Result<(), DropReason> {
    let mut fields = Fields::default();
    let mut previous = None;
    out.push(b'{');
    for _ in 0..entries {
        let key = reader.key()?;
        if let Some(previous) = previous.replace(key) {
            in_order(previous, key)?;
            out.push(b',');
        }
        json::string(out, key);
        out.push(b':');
        let shape = value(out, reader, place)?;
        fields.note(key, shape)?;
        place.check(out)?;
    }
    out.push(b'}');
    fields.check()
}

fn array(out: &mut Vec<u8>, reader: &mut Reader<'_>, items: u64, place: Place) -> Result<(), DropReason> {
    out.push(b'[');
    for at in 0..items {
        if at > 0 {
            out.push(b',');
        }
        value(out, reader, place)?;
        place.check(out)?;
    }
    out.push(b']');
    Ok(())
}

fn link(out: &mut Vec<u8>, bytes: &[u8]) {
    wrapped(out, b"{\"$link\":\"", |out| cid::write(out, bytes));
}

fn wrapped(out: &mut Vec<u8>, open: &[u8], inside: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(open);
    inside(out);
    out.extend_from_slice(b"\"}");
}

/// DAG-CBOR: shorter keys first, then bytewise; an equal one is there twice.
fn in_order(previous: &str, key: &str) -> Result<(), DropReason> {
    let rising = (previous.len(), previous.as_bytes()) < (key.len(), key.as_bytes());
    if rising { Ok(()) } else { Err(DropReason::RecordKeyOrder) }
}

/// What a map has of the fields that mean something in every record.
#[derive(Default)]
struct Fields {
    is_blob: bool,
    link: bool,
    size: bool,
    mime_type: bool,
}

impl Fields {
    #[inline]
    fn note(&mut self, key: &str, shape: Shape<'_>) -> Result<(), DropReason> {
        match (key, shape) {
            ("$type", Shape::Text(name)) if !name.is_empty() => self.is_blob = name == "blob",
            ("$type", _) => return Err(DropReason::RecordType),
            ("$link" | "$bytes", _) => return Err(DropReason::RecordReservedKey),
            ("ref", Shape::Link) => self.link = true,
            ("size", Shape::Integer) => self.size = true,
            ("mimeType", Shape::Text(_)) => self.mime_type = true,
            _ => {}
        }
        Ok(())
    }

    const fn check(&self) -> Result<(), DropReason> {
        let whole = self.link && self.size && self.mime_type;
        if self.is_blob && !whole { Err(DropReason::RecordBlob) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_write(block: &[u8], expected: Result<&str, DropReason>) {
        let mut out = Vec::new();
        let result = write(&mut out, block).map(|()| String::from_utf8(out).unwrap());
        assert_eq!(result.as_deref(), expected.as_deref(), "{block:02x?}");
    }

    #[test]
    fn maps_arrays_and_simple_values_become_compact_json() {
        check_write(b"\xa0", Ok("{}"));
        check_write(b"\xa2\x61a\x83\x01\x20\xf6\x62bb\xa1\x61c\xf5", Ok(r#"{"a":[1,-1,null],"bb":{"c":true}}"#));
        check_write(b"\xa1\x61a\x43\x01\x02\x03", Ok(r#"{"a":{"$bytes":"AQID"}}"#));
    }

    #[test]
    fn what_the_data_model_forbids_is_refused_under_its_name() {
        check_write(b"\x80", Err(DropReason::RecordNotMap));
        check_write(b"\xa0\x00", Err(DropReason::CborTrailing));
        check_write(b"\xa2\x61b\x01\x61a\x01", Err(DropReason::RecordKeyOrder));
        check_write(b"\xa2\x62aa\x01\x61b\x01", Err(DropReason::RecordKeyOrder));
        check_write(b"\xa2\x61a\x01\x61a\x01", Err(DropReason::RecordKeyOrder));
        check_write(b"\xa1\x01\x01", Err(DropReason::CborKey));
        check_write(b"\xa1\x65$link\x61x", Err(DropReason::RecordReservedKey));
        check_write(b"\xa1\x66$bytes\x61x", Err(DropReason::RecordReservedKey));
        check_write(b"\xa1\x65$type\x60", Err(DropReason::RecordType));
        check_write(b"\xa1\x65$type\x64blob", Err(DropReason::RecordBlob));
        check_write(b"\xa1\x61a\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00", Err(DropReason::CborFloat));
        check_write(&[b"\xa1\x61a".to_vec(), vec![0x81; 64], vec![0]].concat(), Err(DropReason::CborTooDeep));
    }
}
