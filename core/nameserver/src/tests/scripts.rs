//! Scripts in text files, whose lines behind `>` are events, with what follows below each of them.

use std::path::Path;

const REWRITE: &str = "HATHI_REWRITE_SCRIPTS";

/// Plays every script of a folder below `src`, and compares what follows with what the file says. `at_least` so many are
/// there. With `HATHI_REWRITE_SCRIPTS=1` in the environment the files are written anew instead, so that a change of behaviour
/// is a change of their text.
///
/// # Panics
/// When what follows is not what a file says.
pub(crate) fn check(folder: &str, at_least: usize, played: impl Fn(&str) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    names.sort();
    assert!(names.len() >= at_least, "scripts are missing: {names:?}");
    for path in names {
        let script = std::fs::read_to_string(&path).expect("it is text");
        let now = played(&script);
        if std::env::var_os(REWRITE).is_some() {
            std::fs::write(&path, now).expect("it can be written");
        } else {
            assert_eq!(now, script, "{}", path.display());
        }
    }
}
