//! What holds of any bytes as a frame: never a panic, and whatever comes out is JSON with a key and headers that can be
//! read. The fuzz target and the bounded run in `make test` are both this, so that neither can rot alone.

use fpaas_ingest::{Events, Frame, Stamps, convert};

/// Panics where it does not hold.
pub(crate) fn frame(bytes: &[u8]) {
    let Ok(frame) = Frame::parse(bytes) else { return };
    let mut events = Events::new();
    convert(&frame, &mut Stamps::default(), 0, &mut events);
    for record in events.into_records() {
        let value = record.value.unwrap();
        let event: serde_json::Value = serde_json::from_slice(&value).unwrap();
        assert_eq!(event["did"].as_str().map(str::as_bytes), record.key.as_deref());
        assert!(record.headers.get_str("id").is_some());
    }
}
