//! Any bytes as a frame: never a panic, and whatever comes out is JSON with a key and headers that can be read.

#![no_main]

use fpaas_ingest::{Events, Frame, Stamps, convert};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(frame) = Frame::parse(bytes) else { return };
    let mut events = Events::new();
    convert(&frame, &mut Stamps::default(), 0, &mut events);
    for record in events.into_records() {
        let value = record.value.expect("an event has a value");
        let event: serde_json::Value = serde_json::from_slice(&value).expect("a value is JSON");
        assert_eq!(event["did"].as_str().map(str::as_bytes), record.key.as_deref());
        assert!(record.headers.get_str("id").is_some());
    }
});
