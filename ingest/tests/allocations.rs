//! The pass path allocates at most once per frame: counted by an allocator of this test alone.

#![expect(unsafe_code, reason = "an allocator that counts can only be made this way")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use fpaas_ingest::{Events, Frame, Frames, Stamps, convert};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_commit_frame_allocates_at_most_once_when_the_buffer_is_warm() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/pds20/frames.bin.zst");
    let frames: Vec<_> = Frames::open(&path).unwrap().map(Result::unwrap).collect();
    let (mut events, mut stamps) = (Events::new(), Stamps::default());
    let mut decode = |bytes: &[u8], events: &mut Events| {
        let before = ALLOCATIONS.get();
        let frame = Frame::parse(bytes).unwrap();
        convert(&frame, &mut stamps, 1, events);
        (ALLOCATIONS.get() - before, matches!(frame, Frame::Commit(_)))
    };
    for frame in &frames {
        decode(frame, &mut events);
    }
    events.clear();
    let mut commits = 0;
    for frame in &frames {
        let (allocations, commit) = decode(frame, &mut events);
        commits += usize::from(commit);
        assert!(allocations <= 1 || !commit, "{allocations} allocations");
    }
    assert!(commits > 1800);
}
