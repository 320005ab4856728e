//! Compiles `src/faults/preload.rs` into the library that daemons under test are started with.
//!
//! It must be a shared object, which no crate can depend on, and it needs nothing but the C library, so that one call of
//! the compiler does.

use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/faults/preload.rs";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    let variable = |name: &str| std::env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let library = PathBuf::from(variable("OUT_DIR")).join("libfaults.so");
    let status = Command::new(variable("RUSTC"))
        .args(["--edition=2024", "--crate-type=cdylib", "--crate-name=faults"])
        .args(["-Copt-level=2", "-Cpanic=abort", "-Dwarnings", "-Aunsafe-code"])
        .arg("--target")
        .arg(variable("TARGET"))
        .arg("-o")
        .arg(&library)
        .arg(SOURCE)
        .status();
    match status {
        Ok(status) if status.success() => {}
        other => panic!("can't compile {SOURCE}: {other:?}"),
    }
    println!("cargo::rustc-env=FAULTS_LIBRARY={}", library.display());
}
