//! Kills the process at a named point when a test asks for it: `FPAAS_CRASH_POINT=<name>[:<n>]`, at the n-th hit.
//!
//! SIGKILL, so that nothing is flushed, closed or answered on the way out. Without the variable nothing is installed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use fpaas_core::crashpoint::{self, Point};

#[derive(Debug)]
struct Planned {
    point: Point,
    left: AtomicU64,
}

static PLANNED: OnceLock<Planned> = OnceLock::new();

/// Reads the variable. A name that does not exist is said loudly: a test that crashes nowhere must not pass.
pub(crate) fn install() {
    let Ok(text) = std::env::var("FPAAS_CRASH_POINT") else { return };
    let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
    match (Point::parse(name), count.parse()) {
        (Some(point), Ok(left)) => {
            PLANNED.get_or_init(|| Planned { point, left: AtomicU64::new(left) });
            crashpoint::install(hit);
        }
        _ => eprintln!("fpaas: FPAAS_CRASH_POINT={text} is not a crash point; there are {:?}", Point::ALL),
    }
}

fn hit(point: Point) {
    let Some(planned) = PLANNED.get() else { return };
    if planned.point == point && planned.left.fetch_sub(1, Ordering::SeqCst) == 1 {
        eprintln!("fpaas: crashing at {}", point.name());
        // Only fails without the right to signal oneself, and then the test sees a process that lives on.
        let _not_permitted = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
