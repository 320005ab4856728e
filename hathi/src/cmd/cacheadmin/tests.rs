//! What Java's tool prints for the same command lines.

use super::*;

fn asked(line: &str) -> Result<Asked, (u8, String)> {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let row = ROWS.iter().find(|row| words[0].strip_prefix('-') == Some(row.name));
    Asked::of(row.expect("a command"), Words::new(&words[1..])).map_err(|ended| match ended {
        Ended::Refused(status, words) => (status, words),
        Ended::Failed(error) => panic!("{error}"),
    })
}

#[test]
fn wrong_arguments_are_refused_in_the_words_of_javas_tool() {
    for (line, status, words) in [
        ("-addDirective", 1, "You must specify a path with -path."),
        ("-addDirective -path /f", 1, "You must specify a pool name with -pool."),
        (
            "-addDirective -path /f -pool p -ttl 3x",
            1,
            "Error while parsing ttl value: Unable to parse relative time value of 3x: unknown time unit x",
        ),
        (
            "-addDirective -path /f -pool p extra",
            1,
            "Can't understand argument: extra",
        ),
        (
            "-addDirective -path",
            255,
            "IllegalArgumentException: option -path requires 1 argument.",
        ),
        (
            "-addPool p -mode 99",
            255,
            "NumberFormatException: For input string: \"99\" under radix 8",
        ),
        ("-removePool", 1, "You must specify a name when deleting a cache pool."),
        ("-removeDirective -1", 1, "You must specify a directive ID to remove."),
        (
            "-removeDirective x",
            1,
            "Invalid directive ID x: expected a numeric value.",
        ),
        ("-modifyDirective -id 3", 1, "No modifications were specified."),
        (
            "-modifyPool p",
            1,
            "You must specify at least one attribute to change in the cache pool.",
        ),
        (
            "-removeDirective 1 2",
            1,
            "Can't understand argument: 2\nUsage is [-removeDirective <id>]\n",
        ),
    ] {
        assert_eq!(asked(line).unwrap_err(), (status, words.to_owned()), "{line}");
    }
}

#[test]
fn a_pool_is_asked_for_with_everything_that_was_typed() {
    let line = "-addPool p -owner alice -mode 0700 -limit unlimited -defaultReplication 3 -maxTtl 4h";
    let Ok(Asked::AddPool(pool)) = asked(line) else {
        panic!("{line}")
    };
    let expected = CachePoolInfoProto {
        pool_name: Some("p".to_owned()),
        owner_name: Some("alice".to_owned()),
        group_name: None,
        mode: Some(0o700),
        limit: Some(i64::MAX),
        max_relative_expiry: Some(14_400_000),
        default_replication: Some(3),
    };
    assert_eq!(pool, expected);
    let text = modified_text(&expected, Some("4h"));
    assert_eq!(
        text,
        "Successfully modified cache pool p to have owner name alice and mode rwx------ and limit 9223372036854775807 \
         and replication 3 replication max time-to-live 4h"
    );
}

#[test]
fn tables_are_javas() {
    let entry = |id, pool: &str, millis, path: &str| CacheDirectiveEntryProto {
        info: CacheDirectiveInfoProto {
            id: Some(id),
            path: Some(path.to_owned()),
            replication: Some(1),
            pool: Some(pool.to_owned()),
            expiration: Some(CacheDirectiveInfoExpirationProto {
                millis,
                is_relative: false,
            }),
        },
        stats: Default::default(),
    };
    let entries = [
        entry(25, "pool1", i64::MAX / 4, "/bar3"),
        entry(5, "p", 1_700_000_000_000, "/b"),
    ];
    let lines = [
        "Found 2 entries",
        " ID POOL    REPL EXPIRY                    PATH  ",
        " 25 pool1      1 never                     /bar3 ",
        "  5 p          1 2023-11-14T22:13:20+0000  /b    ",
        "",
    ];
    assert_eq!(directives_text(&entries, false), lines.join("\n"));
    assert_eq!(directives_text(&[], true), "Found 0 entries\n");
    assert_eq!(pools_text(&[], false), "Found 0 results.\n");
}
