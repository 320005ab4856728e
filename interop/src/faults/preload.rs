//! A library that is preloaded into a daemon (`LD_PRELOAD`). When a test says so, the disk becomes slow, the clock
//! stands still or shows another time of day, the process is killed at one of its changes of files, or hosts have other addresses.
//!
//! `HATHI_FAULTS` names a directory. In it each daemon has a file with the name of its configuration directory
//! (`namenode-0`). The file is mapped. It is an array of 64-bit numbers, described in `faults.rs`, which the test
//! changes while the daemon runs. A process without such a file is not changed. A file `hosts` in the directory has the
//! addresses of hosts, one per line: address, blank, name.
//!
//! Functions of the C library are replaced, so a direct system call is not changed. A program that reads a clock
//! without the C library calls code that the kernel has mapped into the process (the vDSO). That code is patched.

#![allow(unsafe_code, reason = "a preloaded library takes over functions of the C library")]

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Numbers in the file.
const LEN: usize = 16;
/// Delay of removing a file, in microseconds.
const REMOVE: usize = 0;
/// Delay of syncing a file that is no image, in microseconds.
const SYNC: usize = 1;
/// Delay of syncing a file with `fsimage` in its name, in microseconds.
const IMAGE_SYNC: usize = 2;
/// Nanoseconds by which CLOCK_MONOTONIC is set back.
const MONOTONIC: usize = 3;
/// Nanoseconds by which CLOCK_BOOTTIME is set back.
const BOOTTIME: usize = 4;
/// Number of the change of files at which the process is killed. 0: never.
const DIE_AT: usize = 5;
/// Changes of files that the process has begun, if it is to be killed at one.
const CHANGES: usize = 6;
/// Nanoseconds by which CLOCK_REALTIME, the time of day, is ahead.
const REALTIME: usize = 7;
/// Index of the first counter of calls. There is a counter of begun calls and one of ended calls for each of the three
/// kinds.
const BEGUN: usize = 8;
const ENDED: usize = 11;
/// Whether syncs are left out. 0: no.
const NO_SYNCS: usize = 14;

#[cfg(target_arch = "x86_64")]
mod call {
    pub const CLOCK_GETTIME: i64 = 228;
    pub const CLOCK_NANOSLEEP: i64 = 230;
    pub const FSYNC: i64 = 74;
    pub const FDATASYNC: i64 = 75;
    pub const UNLINKAT: i64 = 263;
    pub const KILL: i64 = 62;
    pub const GETPID: i64 = 39;
    pub const OPENAT: i64 = 257;
    pub const WRITE: i64 = 1;
    pub const WRITEV: i64 = 20;
    pub const PWRITE64: i64 = 18;
    pub const RENAMEAT2: i64 = 316;
    pub const MKDIRAT: i64 = 258;
    pub const FTRUNCATE: i64 = 77;
}
#[cfg(target_arch = "aarch64")]
mod call {
    pub const CLOCK_GETTIME: i64 = 113;
    pub const CLOCK_NANOSLEEP: i64 = 115;
    pub const FSYNC: i64 = 82;
    pub const FDATASYNC: i64 = 83;
    pub const UNLINKAT: i64 = 35;
    pub const KILL: i64 = 129;
    pub const GETPID: i64 = 172;
    pub const OPENAT: i64 = 56;
    pub const WRITE: i64 = 64;
    pub const WRITEV: i64 = 66;
    pub const PWRITE64: i64 = 68;
    pub const RENAMEAT2: i64 = 276;
    pub const MKDIRAT: i64 = 34;
    pub const FTRUNCATE: i64 = 46;
}

const CLOCK_REALTIME: c_int = 0;
const CLOCK_MONOTONIC: c_int = 1;
const CLOCK_MONOTONIC_RAW: c_int = 4;
const CLOCK_REALTIME_COARSE: c_int = 5;
const CLOCK_MONOTONIC_COARSE: c_int = 6;
const CLOCK_BOOTTIME: c_int = 7;
const AT_FDCWD: c_int = -100;
const O_RDWR: c_int = 2;
const O_CREAT: c_int = 0o100;
const SIGKILL: c_int = 9;
/// Selects the next library's function of the same name.
const RTLD_NEXT: *mut c_void = -1_isize as *mut c_void;
const EAI_SYSTEM: c_int = -11;
const PROT_READ_WRITE: c_int = 3;
const PROT_READ_EXEC: c_int = 5;
const MAP_SHARED: c_int = 1;
/// Key of the vDSO's address in the auxiliary vector.
const AT_SYSINFO_EHDR: u64 = 33;
const PAGE: u64 = 4096;

#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanos: i64,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn getauxval(kind: u64) -> u64;
    fn mprotect(at: *mut c_void, len: usize, protection: c_int) -> c_int;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn mmap(at: *mut c_void, len: usize, protection: c_int, flags: c_int, file: c_int, offset: i64) -> *mut c_void;
}

/// The mapped file; null in a process without one.
static NUMBERS: AtomicPtr<AtomicU64> = AtomicPtr::new(null_mut());

/// The loader calls it before the program begins, when there is one thread.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = map;

extern "C" fn map() {
    let Some(dir) = std::env::var_os("HATHI_FAULTS") else {
        return;
    };
    let arguments = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let mut arguments = arguments.split(|byte| *byte == 0);
    if !arguments.by_ref().any(|argument| argument == b"--conf") {
        return;
    }
    let conf = Path::new(std::ffi::OsStr::from_bytes(arguments.next().unwrap_or_default()));
    let Some(name) = conf.file_name() else { return };
    let Ok(path) = CString::new(Path::new(&dir).join(name).as_os_str().as_bytes()) else {
        return;
    };
    // SAFETY: the path ends with a null byte and lives through the call.
    let file = unsafe { open(path.as_ptr(), O_RDWR) };
    if file < 0 {
        return;
    }
    // SAFETY: the kernel chooses the place, and the file is as long as this by the test's care. It stays mapped, and
    // its descriptor open, until the process ends.
    let at = unsafe { mmap(null_mut(), LEN * 8, PROT_READ_WRITE, MAP_SHARED, file, 0) };
    if at as isize != -1 {
        NUMBERS.store(at.cast(), Ordering::Release);
        #[cfg(target_arch = "x86_64")]
        vdso::patch();
    }
}

#[cfg(target_arch = "x86_64")]
mod vdso {
    use super::{AT_SYSINFO_EHDR, PAGE, PROT_READ_EXEC, PROT_READ_WRITE, clock_gettime, getauxval, mprotect};
    use std::ffi::{CStr, c_void};

    const PT_LOAD: u32 = 1;
    const PT_DYNAMIC: u32 = 2;
    const DT_STRTAB: u64 = 5;
    const DT_SYMTAB: u64 = 6;
    const SYMBOL_LEN: u64 = 24;

    /// # Safety
    /// Something readable of this type must be there.
    unsafe fn at<T: Copy>(address: u64) -> T {
        // SAFETY: the caller's.
        unsafe { (address as *const T).read_unaligned() }
    }

    /// Address and length of the vDSO, and address of its `clock_gettime`.
    fn clock() -> Option<(u64, u64, u64)> {
        // SAFETY: it takes any number.
        let base = unsafe { getauxval(AT_SYSINFO_EHDR) };
        if base == 0 {
            return None;
        }
        // SAFETY: the kernel has mapped a whole ELF image of 64 bits there, whose headers, dynamic section and tables are
        // loaded, and whose symbols end where their names begin.
        unsafe {
            let (headers, size, count) = (base + at::<u64>(base + 32), at::<u16>(base + 54), at::<u16>(base + 56));
            let header = |kind| {
                (0..u64::from(count))
                    .map(|index| headers + index * u64::from(size))
                    .find(|header| at::<u32>(*header) == kind)
            };
            let loaded = header(PT_LOAD)?;
            let bias = base + at::<u64>(loaded + 8) - at::<u64>(loaded + 16);
            let dynamic = bias + at::<u64>(header(PT_DYNAMIC)? + 16);
            let table = |tag| {
                let entries = (0..64).map(|index| dynamic + index * 16);
                let mut entries = entries.take_while(|entry| at::<u64>(*entry) != 0);
                entries
                    .find(|entry| at::<u64>(*entry) == tag)
                    .map(|entry| bias + at::<u64>(entry + 8))
            };
            let (names, symbols) = (table(DT_STRTAB)?, table(DT_SYMTAB)?);
            let mut all = (symbols..names).step_by(SYMBOL_LEN as usize);
            let symbol = all.find(|symbol| {
                let name = CStr::from_ptr((names + u64::from(at::<u32>(*symbol))) as *const _);
                name == c"__vdso_clock_gettime"
            })?;
            Some((
                base,
                at::<u64>(loaded + 40).next_multiple_of(PAGE),
                bias + at::<u64>(symbol + 8),
            ))
        }
    }

    /// Overwrites it with a jump to the function of this library.
    pub(super) fn patch() {
        let Some((base, len, clock)) = clock() else { return };
        // movabs rax, ADDRESS; jmp rax
        let mut code = [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0];
        code[2..10].copy_from_slice(&(clock_gettime as *const () as u64).to_ne_bytes());
        // All of it is made writable, because the kernel does not allow a part.
        let (whole, len) = (base as *mut c_void, len as usize);
        // SAFETY: the pages are the vDSO's, of which the process gets copies of its own when it writes. There is one
        // thread yet, so that nobody runs there, and the function that is overwritten is longer than the code.
        unsafe {
            if mprotect(whole, len, PROT_READ_WRITE) == 0 {
                std::ptr::copy_nonoverlapping(code.as_ptr(), clock as *mut u8, code.len());
                mprotect(whole, len, PROT_READ_EXEC);
            }
        }
    }
}

fn number(index: usize) -> Option<&'static AtomicU64> {
    let numbers = NUMBERS.load(Ordering::Acquire);
    // SAFETY: it is null or the map of LEN numbers, aligned to a page, that lives as long as the process; all indexes are
    // constants below LEN. Another process changes it, which atomics are made for.
    (!numbers.is_null()).then(|| unsafe { &*numbers.add(index) })
}

fn read(index: usize) -> u64 {
    number(index).map_or(0, |number| number.load(Ordering::Relaxed))
}

fn real_clock(clock: c_int, time: *mut Timespec) -> c_int {
    // SAFETY: the caller's pointer goes to the kernel as it is, which checks it.
    unsafe { syscall(call::CLOCK_GETTIME, clock, time) as c_int }
}

fn now_micros() -> u64 {
    let mut time = Timespec { seconds: 0, nanos: 0 };
    real_clock(CLOCK_MONOTONIC, &mut time);
    time.seconds as u64 * 1_000_000 + time.nanos as u64 / 1000
}

/// Counts a call that is about to change a file, a name, or their durable state. Kills the process at the chosen one.
fn change() {
    let at = read(DIE_AT);
    let Some(changes) = number(CHANGES).filter(|_| at > 0) else {
        return;
    };
    if changes.fetch_add(1, Ordering::Relaxed) + 1 == at {
        // SAFETY: both take numbers only.
        unsafe { syscall(call::KILL, syscall(call::GETPID), c_long::from(SIGKILL)) };
    }
}

/// Delays the call. If a test sets the delay to 0 meanwhile, the call goes on.
fn slow<T>(kind: usize, call: impl FnOnce() -> T) -> T {
    change();
    if let Some(begun) = number(BEGUN + kind) {
        begun.fetch_add(1, Ordering::Relaxed);
    }
    let started = now_micros();
    loop {
        let left = read(kind).saturating_sub(now_micros() - started);
        if left == 0 {
            break;
        }
        let pause = Timespec {
            seconds: 0,
            nanos: (left.min(1000) * 1000) as i64,
        };
        // SAFETY: the kernel reads the pause, which lives through the call, and is given no place for what is left of it.
        unsafe {
            syscall(
                call::CLOCK_NANOSLEEP,
                CLOCK_MONOTONIC,
                0 as c_int,
                &raw const pause,
                null_mut::<Timespec>(),
            )
        };
    }
    let result = call();
    if let Some(ended) = number(ENDED + kind) {
        ended.fetch_add(1, Ordering::Relaxed);
    }
    result
}

fn kind_of_sync(file: c_int) -> usize {
    let image = std::fs::read_link(format!("/proc/self/fd/{file}"))
        .is_ok_and(|path| path.as_os_str().as_bytes().windows(7).any(|part| part == b"fsimage"));
    if image { IMAGE_SYNC } else { SYNC }
}

/// `clock_gettime(2)`
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    let result = real_clock(clock, time);
    let behind = match clock {
        CLOCK_REALTIME | CLOCK_REALTIME_COARSE => -(read(REALTIME) as i64),
        CLOCK_MONOTONIC | CLOCK_MONOTONIC_RAW | CLOCK_MONOTONIC_COARSE => read(MONOTONIC) as i64,
        CLOCK_BOOTTIME => read(BOOTTIME) as i64,
        _ => 0,
    };
    if result == 0 && behind != 0 {
        // SAFETY: the kernel has just written there.
        let time = unsafe { &mut *time };
        let nanos = time.seconds * 1_000_000_000 + time.nanos - behind;
        *time = Timespec {
            seconds: nanos.div_euclid(1_000_000_000),
            nanos: nanos.rem_euclid(1_000_000_000),
        };
    }
    result
}

/// `fsync(2)`
#[unsafe(no_mangle)]
pub extern "C" fn fsync(file: c_int) -> c_int {
    slow(kind_of_sync(file), || match read(NO_SYNCS) {
        // SAFETY: any number may be given; the kernel checks it.
        0 => unsafe { syscall(call::FSYNC, file) as c_int },
        _ => 0,
    })
}

/// `fdatasync(2)`
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(file: c_int) -> c_int {
    slow(kind_of_sync(file), || match read(NO_SYNCS) {
        // SAFETY: as in `fsync`.
        0 => unsafe { syscall(call::FDATASYNC, file) as c_int },
        _ => 0,
    })
}

/// `unlink(2)`
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's promise about the path.
    unsafe { unlinkat(AT_FDCWD, path, 0) }
}

/// `unlinkat(2)`
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's pointer goes to the kernel as it is, which checks it.
    slow(REMOVE, || unsafe { syscall(call::UNLINKAT, dir, path, flags) as c_int })
}

/// `rmdir(2)`
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    const AT_REMOVEDIR: c_int = 0x200;
    // SAFETY: the caller's promise about the path.
    unsafe { unlinkat(AT_FDCWD, path, AT_REMOVEDIR) }
}

/// `open(2)`, by the name under which Rust's standard library calls it.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    if flags & O_CREAT != 0 {
        change();
    }
    // SAFETY: the caller's pointer goes to the kernel as it is, which checks it.
    unsafe { syscall(call::OPENAT, AT_FDCWD, path, flags, mode) as c_int }
}

/// `mkdir(2)`
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(path: *const c_char, mode: c_int) -> c_int {
    change();
    // SAFETY: as in `open64`.
    unsafe { syscall(call::MKDIRAT, AT_FDCWD, path, mode) as c_int }
}

/// `rename(2)`
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    change();
    // SAFETY: as in `open64`.
    unsafe { syscall(call::RENAMEAT2, AT_FDCWD, from, AT_FDCWD, to, 0 as c_int) as c_int }
}

/// `write(2)`
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(file: c_int, from: *const c_void, len: usize) -> isize {
    change();
    // SAFETY: as in `open64`.
    unsafe { syscall(call::WRITE, file, from, len) as isize }
}

/// `writev(2)`
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(file: c_int, from: *const c_void, count: c_int) -> isize {
    change();
    // SAFETY: as in `open64`.
    unsafe { syscall(call::WRITEV, file, from, count) as isize }
}

/// `pwrite(2)`, by the name under which Rust's standard library calls it.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(file: c_int, from: *const c_void, len: usize, offset: i64) -> isize {
    change();
    // SAFETY: as in `open64`.
    unsafe { syscall(call::PWRITE64, file, from, len, offset) as isize }
}

/// `ftruncate(2)`, by the name under which Rust's standard library calls it.
#[unsafe(no_mangle)]
pub extern "C" fn ftruncate64(file: c_int, len: i64) -> c_int {
    change();
    // SAFETY: both are numbers.
    unsafe { syscall(call::FTRUNCATE, file, len) as c_int }
}

/// The address that the test has set for a host.
fn address_of(host: &CStr) -> Option<CString> {
    let dir = std::env::var_os("HATHI_FAULTS")?;
    let hosts = std::fs::read_to_string(Path::new(&dir).join("hosts")).ok()?;
    let address = hosts.lines().find_map(|line| {
        let (address, name) = line.split_once(' ')?;
        (name.as_bytes() == host.to_bytes()).then_some(address)
    })?;
    CString::new(address).ok()
}

/// `getaddrinfo(3)`
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getaddrinfo(
    host: *const c_char,
    service: *const c_char,
    hints: *const c_void,
    found: *mut *mut c_void,
) -> c_int {
    type Call = unsafe extern "C" fn(*const c_char, *const c_char, *const c_void, *mut *mut c_void) -> c_int;
    // SAFETY: the caller's promise about the name, if there is one.
    let moved = (!host.is_null()).then(|| unsafe { CStr::from_ptr(host) });
    let moved = moved.and_then(address_of);
    // SAFETY: the name ends with a null byte.
    let real = unsafe { dlsym(RTLD_NEXT, c"getaddrinfo".as_ptr()) };
    if real.is_null() {
        return EAI_SYSTEM;
    }
    // SAFETY: it is the C library's function of this name, which has this type.
    let real: Call = unsafe { std::mem::transmute(real) };
    let host = moved.as_ref().map_or(host, |address| address.as_ptr());
    // SAFETY: the caller's promises; the address, which may stand for the name, lives through the call.
    unsafe { real(host, service, hints, found) }
}
