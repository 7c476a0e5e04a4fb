//! Why something from an upstream was not taken: the names, and how often. Invariant: drop-and-count.
//!
//! Every reason is a label of a metric. A reason says what was dropped too: the whole frame, one op of it, or a
//! record's op; the table in the macro below is the list for operators.

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $label:literal,)*) => {
        /// Why a frame or an op was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
        pub enum DropReason {
            $($(#[$doc])* #[error($label)] $variant,)*
        }

        impl DropReason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)*];

            /// The metric's label.
            pub const fn label(self) -> &'static str {
                match self { $(DropReason::$variant => $label,)* }
            }
        }
    };
}

reasons! {
    // DAG-CBOR, of a frame or of a record (ipld.io/specs/codecs/dag-cbor).
    /// The bytes end within an item.
    CborTruncated = "cbor-truncated",
    /// Bytes are left over behind the item.
    CborTrailing = "cbor-trailing",
    /// A length or integer is longer than it need be, or a length is indefinite.
    CborNotCanonical = "cbor-not-canonical",
    /// Text is not UTF-8.
    CborNotUtf8 = "cbor-not-utf8",
    /// A tag other than 42, or a link that is no CIDv1.
    CborBadLink = "cbor-bad-link",
    /// A simple value other than false, true and null.
    CborSimple = "cbor-simple",
    /// A map's key is not text.
    CborKey = "cbor-key",
    /// Nested deeper than `limits::RECORD_DEPTH_MAX`.
    CborTooDeep = "cbor-too-deep",
    /// A floating-point number: atproto.com/specs/data-model has none, and two implementations would not agree on its
    /// JSON.
    CborFloat = "cbor-float",
    /// An integer outside of 64 bits with a sign (atproto.com/specs/data-model).
    CborInteger = "cbor-integer",

    // Frames (atproto.com/specs/event-stream, com.atproto.sync.subscribeRepos).
    /// A message that is not binary.
    FrameNotBinary = "frame-not-binary",
    /// A header that is not `{op, t}`.
    FrameHeader = "frame-header",
    /// A required field is missing, there twice, or of another type.
    FrameField = "frame-field",
    /// A type this version does not know: ignored, as the specification asks.
    FrameUnknownType = "frame-unknown-type",
    /// A `seq` that is negative or above `limits::SEQ_MAX`.
    FrameSeq = "frame-seq",
    /// A message that does not rise above the last one's `seq`.
    FrameStaleSeq = "frame-stale-seq",
    /// A `seq` that leaps ahead by more than `limits::SEQ_LEAP_MAX`: believed only when the next one goes on from it.
    FrameSeqLeap = "frame-seq-leap",
    /// Not a frame of ours but those we never got: the upstream says `OutdatedCursor`, it no longer has all of what is
    /// behind our cursor; or `FutureCursor`, it counts anew.
    FramesMissed = "frames-missed",
    /// The recording ends in the middle of a frame, or cannot be read on: what is left of it is not taken.
    RecordingBrokenOff = "recording-broken-off",
    /// Another upstream has brought it already.
    FrameSeenElsewhere = "frame-seen-elsewhere",
    /// A DID that is none.
    FrameDid = "frame-did",
    /// A `rev` that is no TID.
    FrameRev = "frame-rev",
    /// A handle that is none.
    FrameHandle = "frame-handle",
    /// A commit without its contents, by its own account (`tooBig`, of times before sync 1.1).
    FrameTooBig = "frame-too-big",
    /// Above `limits::FRAME_BYTES_MAX`.
    FrameTooLong = "frame-too-long",
    /// More ops than `limits::COMMIT_OPS_MAX`.
    FrameTooManyOps = "frame-too-many-ops",
    /// The blocks are no CAR.
    FrameCar = "frame-car",

    // Ops of a commit.
    /// An action other than create, update and delete.
    OpAction = "op-action",
    /// A path that is no `collection/rkey`.
    OpPath = "op-path",
    /// An op of other fields than its action needs.
    OpField = "op-field",
    /// A record's CID that is not CIDv1, DAG-CBOR, SHA-256.
    OpCid = "op-cid",
    /// The record's block is not among the blocks.
    OpBlockMissing = "op-block-missing",
    /// The block's hash is not its CID's.
    OpBlockHash = "op-block-hash",
    /// Its event, or all events of the frame, would be larger than limits allow.
    OpTooLarge = "op-too-large",
    /// The ops share blocks so often that decoding them all would cost more than the frame's bytes allow
    /// (`limits::FRAME_WORK_FACTOR`).
    OpTooCostly = "op-too-costly",

    // Records (atproto.com/specs/data-model).
    /// Not a map.
    RecordNotMap = "record-not-map",
    /// Keys are not in their order, or one is there twice.
    RecordKeyOrder = "record-key-order",
    /// A key `$link` or `$bytes`: links and bytes have forms of their own, and in JSON this could not be told from
    /// them.
    RecordReservedKey = "record-reserved-key",
    /// A `$type` that is not a text of at least one character.
    RecordType = "record-type",
    /// A blob without `ref`, `mimeType` and `size`, or with one of another type.
    RecordBlob = "record-blob",
}

/// How often each reason came up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops(Vec<(DropReason, u64)>);

impl Drops {
    /// Counts one.
    pub fn count(&mut self, reason: DropReason) {
        match self.0.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, times)) => *times += 1,
            None => self.0.push((reason, 1)),
        }
    }

    /// Those that came up, in the order in which they first did.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        self.0.iter().copied()
    }

    /// How many in all.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, times)| times).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_fit_a_metric() {
        let mut labels: Vec<_> = DropReason::ALL.iter().map(|reason| reason.label()).collect();
        assert!(
            labels.iter().all(|label| label.bytes().all(|byte| byte.is_ascii_lowercase() || b"-8".contains(&byte)))
        );
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::ALL.len());
    }

    #[test]
    fn drops_are_counted_by_reason() {
        let mut drops = Drops::default();
        for reason in [DropReason::OpCid, DropReason::FrameCar, DropReason::OpCid] {
            drops.count(reason);
        }
        assert_eq!(drops.iter().collect::<Vec<_>>(), [(DropReason::OpCid, 2), (DropReason::FrameCar, 1)]);
        assert_eq!(drops.total(), 3);
    }
}
