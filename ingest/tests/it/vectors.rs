//! The protocol's own interoperability vectors (`testdata/atproto-interop-tests`, CC0).
//!
//! All of `data-model`, and of `syntax` what ingest checks. What is not run yet, and why, is in `testdata/README.md`.

use fpaas_ingest::{DropReason, syntax};
use serde_json::Value;

use crate::support::{cid_of, dag_cbor, decode_record, encode, from_base64, testdata};

fn check_syntax(name: &str, accepts: fn(&str) -> bool) {
    for (file, expected) in [("valid", true), ("invalid", false)] {
        let path = testdata(&format!("atproto-interop-tests/syntax/{name}_syntax_{file}.txt"));
        let text = std::fs::read_to_string(path).unwrap();
        let cases = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let count = cases.inspect(|case| assert_eq!(accepts(case), expected, "{name}: {case:?}")).count();
        assert!(count > 3, "{name} has {count} {file} cases");
    }
}

#[test]
fn identifiers_are_told_as_the_vectors_tell_them() {
    check_syntax("did", syntax::is_did);
    check_syntax("did", |text| fpaas_core::Did::parse(text).is_ok());
    check_syntax("nsid", syntax::is_nsid);
    check_syntax("recordkey", syntax::is_record_key);
    check_syntax("tid", syntax::is_tid);
    check_syntax("cid", syntax::is_cid);
    check_syntax("aturi", syntax::is_at_uri);
    check_syntax("handle", syntax::is_handle);
}

fn cases(file: &str) -> Vec<Value> {
    let path = testdata("atproto-interop-tests/data-model").join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn fixtures_decode_to_their_json_and_hash_to_their_cid() {
    let cases = cases("data-model-fixtures.json");
    assert_eq!(cases.len(), 3);
    for case in cases {
        let block = from_base64(case["cbor_base64"].as_str().unwrap());
        assert_eq!(cid_of(&block).to_string(), case["cid"]);
        assert_eq!(encode(&dag_cbor(&case["json"])), block);
        assert_eq!(decode_record(&block).as_ref(), Ok(&case["json"]));
    }
}

#[test]
fn valid_data_comes_out_as_it_went_in() {
    let cases = cases("data-model-valid.json");
    assert_eq!(cases.len(), 5);
    for case in cases {
        let record = decode_record(&encode(&dag_cbor(&case["json"]))).unwrap();
        // 123.0 is an integer in the data model; JSON's own equality tells it from 123.
        let expected = case["json"].to_string().replace("123.0", "123");
        assert_eq!(record, serde_json::from_str::<Value>(&expected).unwrap(), "{}", case["note"]);
    }
}

#[test]
fn invalid_data_is_dropped_under_the_reason_that_names_it() {
    let reasons = [
        ("top-level not an object", DropReason::RecordNotMap),
        ("float", DropReason::CborFloat),
        ("record with $type null", DropReason::RecordType),
        ("record with $type wrong type", DropReason::RecordType),
        ("record with empty $type string", DropReason::RecordType),
        ("blob with string size", DropReason::RecordBlob),
        ("blob with missing key", DropReason::RecordBlob),
        ("bytes with wrong field type", DropReason::RecordReservedKey),
        ("bytes with extra fields", DropReason::RecordReservedKey),
        ("link with wrong field type", DropReason::RecordReservedKey),
        ("link with bogus CID", DropReason::RecordReservedKey),
        ("link with extra fields", DropReason::RecordReservedKey),
    ];
    let cases = cases("data-model-invalid.json");
    assert_eq!(cases.len(), reasons.len());
    for (case, (note, reason)) in cases.iter().zip(reasons) {
        assert_eq!(case["note"], note);
        assert_eq!(decode_record(&encode(&dag_cbor(&case["json"]))), Err(reason), "{note}");
    }
}
