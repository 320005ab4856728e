//! `cargo xtask dist [--profile PROFILE | --program FILE]`: the Debian package and the tarball, in `target/package`.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The tool that packs, which `cargo install` brings when it is not there.
const CARGO_DEB: &str = "3.8.0";
/// Files of the two examples in docs/operations.md, by the fences of their blocks.
const EXAMPLES: [(&str, &str); 2] = [
    ("```xml core-site.xml", "core-site.xml"),
    ("```xml hdfs-site.xml", "hdfs-site.xml"),
];

/// Builds the program, or takes the one that is named, and packs it.
pub fn dist(root: &Path) -> Result<()> {
    let args: Vec<String> = std::env::args().skip(2).collect();
    let program = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => build(root, "dist")?,
        ["--profile", profile] => build(root, profile)?,
        ["--program", program] => program.into(),
        other => bail!(
            "usage: cargo xtask dist [--profile PROFILE | --program FILE] (not {})",
            other.join(" ")
        ),
    };
    let staged = stage(root, &program)?;
    debian(root, &staged)?;
    tarball(root, &staged)
}

fn build(root: &Path, profile: &str) -> Result<PathBuf> {
    crate::cargo(&[
        "build",
        "--locked",
        "--profile",
        profile,
        "--package",
        "hathi",
        "--bin",
        "hathi",
    ])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target
        .join(if profile == "dev" { "debug" } else { profile })
        .join("hathi"))
}

/// Lays out what the package and the tarball have: the program without symbols, its symbols, manual pages, completion
/// and examples.
fn stage(root: &Path, program: &Path) -> Result<PathBuf> {
    let staged = root.join("target/package");
    for part in ["bin", "link", "debug", "man", "completion", "examples"] {
        let directory = staged.join(part);
        // What an older build left would be packed as well.
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    }
    let (stripped, symbols) = (staged.join("bin/hathi"), staged.join("debug/hathi.debug"));
    run(Command::new("objcopy")
        .arg("--only-keep-debug")
        .arg(program)
        .arg(&symbols))?;
    run(Command::new("strip").arg("-o").arg(&stripped).arg(program))?;
    run(Command::new("objcopy")
        .arg(format!("--add-gnu-debuglink={}", symbols.display()))
        .arg(&stripped))?;
    std::os::unix::fs::symlink("hathi", staged.join("bin/hdfs"))?;
    // In the package it lies beside the program's directory, because Hadoop's script has the name in /usr/bin.
    std::os::unix::fs::symlink("../../../bin/hathi", staged.join("link/hdfs"))?;

    run(Command::new(&stripped).arg("man").arg(staged.join("man")))?;
    for (shell, file) in [("bash", "hathi.bash"), ("zsh", "_hathi"), ("fish", "hathi.fish")] {
        let script = Command::new(&stripped).args(["completion", shell]).output()?;
        ensure!(script.status.success(), "no completion for {shell}");
        std::fs::write(staged.join("completion").join(file), script.stdout)?;
    }
    let page = root.join("docs/operations.md");
    let page = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    for (fence, file) in EXAMPLES {
        let text = block(&page, fence).with_context(|| format!("docs/operations.md has no block {fence}"))?;
        std::fs::write(staged.join("examples").join(file), text)?;
    }
    Ok(staged)
}

/// The first block behind this fence.
fn block<'a>(page: &'a str, fence: &str) -> Option<&'a str> {
    let body = page.split_once(&format!("{fence}\n"))?.1;
    body.split_once("```").map(|(block, _)| block)
}

fn debian(root: &Path, staged: &Path) -> Result<()> {
    let tools = root.join("target/tools");
    let on_path = Command::new("cargo-deb").arg("--version").output().is_ok();
    let installed = tools.join("bin/cargo-deb");
    let program = if on_path { PathBuf::from("cargo-deb") } else { installed };
    if !on_path && !program.exists() {
        let root = tools.display().to_string();
        let install = [
            "install",
            "--root",
            &root,
            "--locked",
            "--version",
            CARGO_DEB,
            "cargo-deb",
        ];
        // Neither an archive by xz nor packages of symbols are made, so their libraries are left out.
        let features = ["--no-default-features", "--features", "gzip"];
        crate::cargo(&[&install[..], &features[..]].concat())?;
    }
    run(Command::new(program)
        .args([
            "deb",
            "--quiet",
            "--no-build",
            "--no-strip",
            "--locked",
            "--manifest-path",
        ])
        .arg(root.join("hathi/Cargo.toml"))
        .arg("--output")
        .arg(staged))
}

fn tarball(root: &Path, staged: &Path) -> Result<()> {
    let name = format!("hathi-{}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let tree = staged.join(&name);
    let _ = std::fs::remove_dir_all(&tree);
    std::fs::create_dir_all(&tree)?;
    for part in ["bin", "man", "completion", "examples"] {
        run(Command::new("cp").arg("-a").arg(staged.join(part)).arg(&tree))?;
    }
    for part in [
        "dist/systemd",
        "docs",
        "README.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "LICENSE",
    ] {
        run(Command::new("cp").arg("-a").arg(root.join(part)).arg(&tree))?;
    }
    for (parts, file) in [
        (&name[..], format!("{name}.tar.gz")),
        ("debug", format!("{name}-debug.tar.gz")),
    ] {
        run(Command::new("tar")
            .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-C"])
            .arg(staged)
            .arg("-czf")
            .arg(staged.join(file))
            .arg(parts))?;
    }
    std::fs::remove_dir_all(&tree).with_context(|| tree.display().to_string())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("can't run {}", command.get_program().display()))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
