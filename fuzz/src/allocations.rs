//! Counts the memory that a thread has allocated. It shows when a decoder believes a huge count or length.

#![allow(
    unsafe_code,
    reason = "an allocator can't be written without; it only counts, and passes everything on to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;

/// Limit in bytes for one thread. Above it the thread is about to exhaust the machine's memory, so the process ends and
/// prints what the thread was doing.
const HELD_MAX_BYTES: usize = 2 << 30;
/// Longest label of a thread's work, in bytes.
const LABEL_BYTES: usize = 160;

/// The allocator of a program that measures: `#[global_allocator] static ALLOCATOR: Counting = Counting;`
#[derive(Debug)]
pub struct Counting;

/// Counts of one thread. Memory that another thread frees is not counted: a measured task runs on one thread.
#[derive(Clone, Copy)]
struct Counts {
    held: usize,
    peak: usize,
}

thread_local! {
    static COUNTS: Cell<Counts> = const { Cell::new(Counts { held: 0, peak: 0 }) };
    static LABEL: Cell<[u8; LABEL_BYTES]> = const { Cell::new([b' '; LABEL_BYTES]) };
}

fn add(bytes: usize) {
    // A thread that is ending has no counts any more.
    let held = COUNTS.try_with(|counts| {
        let Counts { held, peak } = counts.get();
        let held = held.saturating_add(bytes);
        counts.set(Counts {
            held,
            peak: peak.max(held),
        });
        held
    });
    if held.is_ok_and(|held| held > HELD_MAX_BYTES) {
        give_up(bytes);
    }
}

fn subtract(bytes: usize) {
    let _ = COUNTS.try_with(|counts| {
        let Counts { held, peak } = counts.get();
        counts.set(Counts {
            held: held.saturating_sub(bytes),
            peak,
        });
    });
}

/// Nothing here may allocate.
#[cold]
fn give_up(bytes: usize) -> ! {
    let mut digits = [0; 20];
    let (mut left, mut at) = (bytes, digits.len());
    while at > 0 && (left > 0 || at == digits.len()) {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    let mut out = std::io::stderr();
    let label = LABEL.try_with(Cell::get).unwrap_or([b' '; LABEL_BYTES]);
    for part in [
        b"more than 2 GiB are held, and wanted are more bytes: ",
        &digits[at..],
        b"\n",
        &label[..],
        b"\n",
    ] {
        let _ = out.write_all(part);
    }
    std::process::abort()
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches two thread-local cells without destructors
// and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Both blocks are held while the bytes are moved.
        add(new_size);
        subtract(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        subtract(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Runs `task`, and returns the most bytes that this thread held at once meanwhile, beyond those it held before. 0 when
/// [`Counting`] is not the allocator.
pub fn measure<T>(task: impl FnOnce() -> T) -> (T, usize) {
    let before = COUNTS.with(|counts| {
        let held = counts.get().held;
        counts.set(Counts { held, peak: held });
        held
    });
    let result = task();
    let peak = COUNTS.with(Cell::get).peak;
    (result, peak.saturating_sub(before))
}

/// Sets the text that is printed when this thread takes too much memory.
pub fn label(text: &str) {
    let mut label = [b' '; LABEL_BYTES];
    for (place, byte) in label.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    LABEL.with(|cell| cell.set(label));
}
