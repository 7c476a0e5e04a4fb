//! Named places where a test can end the process at once, as a power failure of the process would.
//!
//! Each point's doc says what recovery owes when the process dies there. In production nothing is installed and a hit
//! costs one load. The program installs a hook when `FPAAS_CRASH_POINT=<name>[:<n>]` is set: the process then kills
//! itself (SIGKILL) at the n-th hit of that point.

use std::sync::OnceLock;

macro_rules! points {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A place where a crash is survived.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Point {
            $($(#[$doc])* $variant,)*
        }

        impl Point {
            /// Every point, so that a test can fail when one was never hit.
            pub const ALL: &'static [Point] = &[$(Point::$variant,)*];

            /// The name the environment variable takes.
            pub const fn name(self) -> &'static str {
                match self { $(Point::$variant => $name,)* }
            }

            /// The point of that name.
            pub fn parse(name: &str) -> Option<Point> {
                Self::ALL.iter().copied().find(|point| point.name() == name)
            }
        }
    };
}

points! {
    /// Frames were taken from the upstream, nothing was written: the cursor in the log asks for them again.
    IngestAfterFetch = "ingest-after-fetch",
    /// Events are decoded and in the transaction, which was not committed: asked for again, none is doubled.
    IngestBeforeCommit = "ingest-before-commit",
    /// Events and cursor are durable, memory is not updated: the restart goes on after them.
    IngestAfterCommit = "ingest-after-commit",
    /// Source records were read and nothing was decided: read again.
    ScanAfterFetch = "scan-after-fetch",
    /// Deliveries are in a transaction that was not committed: the scan's position did not move either.
    ScanBeforeCommit = "scan-before-commit",
    /// Deliveries and position are durable.
    ScanAfterCommit = "scan-after-commit",
    /// A catch-up lane has read up to the scan and the scan has not taken the subscription in: the row says where to go
    /// on.
    ScanJoining = "scan-joining",
    /// A batch is decided and its freeze is not committed: no attempt was made, another batch may be formed.
    LaneBeforeFreeze = "lane-before-freeze",
    /// The frozen row is durable and no call was made: the same batch is restored.
    LaneAfterFreeze = "lane-after-freeze",
    /// The endpoint has answered and nothing is committed: it is called again, same id, same bytes.
    LaneAfterAnswer = "lane-after-answer",
    /// Results, position and done row are in a transaction that was not committed: called again, same id, same bytes.
    LaneBeforeCommit = "lane-before-commit",
    /// Results and position are durable: not called again.
    LaneAfterCommit = "lane-after-commit",
    /// Events of a batch that failed are in a transaction that was not committed: they are where they were.
    LaneBeforePark = "lane-before-park",
    /// The position has passed a batch that failed: it is made again from the rows of its events.
    LaneAfterPark = "lane-after-park",
    /// An attempt failed and the batch waits: the frozen row brings the same batch back.
    LaneInBackoff = "lane-in-backoff",
    /// Dead letters are in a transaction that puts them among the deliveries again, and was not committed: they are
    /// read again.
    LaneBeforeRedrive = "lane-before-redrive",
    /// They are there, and so is how far that has come: none is delivered again twice.
    LaneAfterRedrive = "lane-after-redrive",
    /// Rows are being read back into the lanes' table: nothing was called yet.
    RestoreRunning = "restore-running",
    /// The low watermark moved and the records below it are still there: they are removed later, nobody reads them.
    RetentionTrimmed = "retention-trimmed",
    /// A limit of time or bytes has moved a low watermark and nothing is removed: nobody reads what is below it, and it
    /// is removed after the restart.
    RetentionExpired = "retention-expired",
    /// Records below a low watermark are deleted and the disk is not given back: it is later; those above are there.
    RetentionSwept = "retention-swept",
    /// On Kafka: records and positions are in a transaction whose end was not asked for. The next owner of its slots
    /// ends it, and nothing of it was ever readable.
    TransactionOpen = "transaction-open",
    /// On Kafka: a transaction is committed and nobody here knows it yet. The next owner finds it done.
    TransactionEnded = "transaction-ended",
    /// `fpaas migrate`: the folder says that it moves, and the cluster does not know it yet: run again, it goes on.
    MigrationBegun = "migration-begun",
    /// `fpaas migrate`: some records are on the cluster: run again, it finds them and copies the rest.
    MigrationCopying = "migration-copying",
    /// `fpaas migrate`: positions and rows of some slots are there: they are written again, the same.
    MigrationPlacing = "migration-placing",
    /// `fpaas migrate`: all is there, and the cluster does not say so: neither side starts, and the next run says it.
    MigrationPlaced = "migration-placed",
    /// `fpaas migrate`: the cluster says that all is there, the folder does not: only the cluster may go on.
    MigrationFinished = "migration-finished",
    /// A slot of the router is about to write into its rows what it carried of a tenant that leaves.
    MoveSettingAside = "move-setting-aside",
    /// It has.
    MoveSetAside = "move-set-aside",
    /// A tenant moves, and what it has in a slot is in a transaction that was not committed: it is there as before.
    MoveHandingOver = "move-handing-over",
    /// It is handed over: the old pool has nothing of it in this slot any more, and the new one finds it in its topic.
    MoveHandedOver = "move-handed-over",
    /// The new pool has read it and not committed its own rows: it is read again.
    MoveTaking = "move-taking",
    /// The new pool has it: the slot goes on there.
    MoveTaken = "move-taken",
    /// Every slot is taken and nobody has said so: the next look finds it again.
    MoveEnding = "move-ending",
    /// A command is durable and was not answered: it holds, and its caller's repeated PUT finds it applied.
    ControlAppended = "control-appended",
    /// A subscription's command is applied and its internal topics do not exist: they are made at the next start.
    TopicsMissing = "topics-missing",
}

type Hook = fn(Point);

static HOOK: OnceLock<Hook> = OnceLock::new();

/// Installs what a hit does; the first one stays.
pub fn install(hook: Hook) {
    HOOK.get_or_init(|| hook);
}

/// Marks that `point` was reached.
pub fn hit(point: Point) {
    if let Some(hook) = HOOK.get() {
        hook(point);
    }
}
