//! Images and logs with changed bytes, some thousands. `cargo xtask fuzz damage --files N` takes more.

use hathi_fuzz::allocations::Counting;
use hathi_fuzz::damage;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn images_and_logs_with_changed_bytes_are_refused_or_read_as_what_they_say() {
    let (images, logs) = damage::run(1, 6000);
    println!("images {images:?}, logs {logs:?}");
    assert_eq!((images.files(), logs.files()), (3000, 3000));
    // Most changes show, and an image has no checksum of its own.
    assert!(images.refused > 0 && images.other_values > 0, "{images:?}");
    assert!(logs.refused > logs.same && logs.other_values == 0, "{logs:?}");
}
