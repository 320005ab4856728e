//! `hathi cacheadmin`: administers cache pools and directives (`CacheAdmin`).

mod arguments;
mod listing;

use self::arguments::{Words, java_long, java_short};
use self::listing::Table;
use super::dfs::{full_path, permission_text};
use super::invocation::Invocation;
use super::table::{ANY, GENERIC_OPTIONS, Grammar, Row};
use super::waiting::{explained, say_what_is_waited_for};
use anyhow::Result;
use hathi_client::{ClientError, FileSystem};
use hathi_formats::caching::{duration_text, expiration_text, parse_relative_time};
use hathi_formats::proto::hdfs::{
    AddCacheDirectiveRequestProto, AddCacheDirectiveResponseProto, AddCachePoolRequestProto, AddCachePoolResponseProto,
    CacheDirectiveEntryProto, CacheDirectiveInfoExpirationProto, CacheDirectiveInfoProto, CachePoolEntryProto,
    CachePoolInfoProto, ListCacheDirectivesRequestProto, ListCacheDirectivesResponseProto, ListCachePoolsRequestProto,
    ListCachePoolsResponseProto, ModifyCacheDirectiveRequestProto, ModifyCacheDirectiveResponseProto,
    ModifyCachePoolRequestProto, ModifyCachePoolResponseProto, RemoveCacheDirectiveRequestProto,
    RemoveCacheDirectiveResponseProto, RemoveCachePoolRequestProto, RemoveCachePoolResponseProto,
};
use hathi_namespace::CACHE_NEVER_EXPIRES_MS;
use hathi_net::ipc::Idempotence;
use std::ffi::OsString;
use std::process::ExitCode;

/// Exit code for wrong arguments.
const MISUSED: u8 = 1;
/// Exit code of a call that failed.
const FAILED: u8 = 2;
/// Exit code for what Java's tool ends with a return value of -1: a number that is none.
const UNREADABLE: u8 = 255;
/// `CacheFlagProto.FORCE`
const FORCE: u32 = 1;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    AddDirective,
    ModifyDirective,
    ListDirectives,
    RemoveDirective,
    RemoveDirectives,
    AddPool,
    ModifyPool,
    RemovePool,
    ListPools,
    Help,
}

const fn row(name: &'static str, verb: Verb, arguments: &'static str, help: &'static str) -> Row<Verb> {
    Row {
        name,
        verb,
        arguments,
        flags: &[],
        grammar: Grammar::Raw,
        words: 0..=ANY,
        help,
    }
}

const POOL_ARGUMENTS: &str = "<name> [-owner <owner>] [-group <group>] [-mode <mode>] [-limit <limit>] [-defaultReplication <defaultReplication>] [-maxTtl <maxTtl>]";

pub const ROWS: &[Row<Verb>] = &[
    row(
        "addDirective",
        Verb::AddDirective,
        "-path <path> -pool <pool-name> [-force] [-replication <replication>] [-ttl <time-to-live>]",
        "Add a new cache directive.\n
<path>          A path to cache. The path can be a directory or a file.
<pool-name>     The pool to which the directive will be added. You must have
                write permission on the cache pool in order to add new
                directives.
-force          Skips checking of cache pool resource limits.
<replication>   The cache replication factor to use. Defaults to that of the pool.
<time-to-live>  How long the directive is valid. Can be specified in minutes,
                hours, and days, e.g. 30m, 4h, 2d. Valid units are [smhd].
                \"never\" indicates a directive that never expires. If
                unspecified, the directive never expires.",
    ),
    row(
        "modifyDirective",
        Verb::ModifyDirective,
        "-id <id> [-path <path>] [-force] [-replication <replication>] [-pool <pool-name>] [-ttl <time-to-live>]",
        "Modify a cache directive.\n
<id>            The ID of the directive to modify (required)
<path>          A path to cache. The path can be a directory or a file.
                (optional)
-force          Skips checking of cache pool resource limits.
<replication>   The cache replication factor to use. (optional)
<pool-name>     The pool to which the directive will be added. You must have
                write permission on the cache pool in order to move a directive
                into it. (optional)
<time-to-live>  How long the directive is valid. Can be specified in minutes,
                hours, and days, e.g. 30m, 4h, 2d. Valid units are [smhd].
                \"never\" indicates a directive that never expires.",
    ),
    row(
        "listDirectives",
        Verb::ListDirectives,
        "[-stats] [-path <path>] [-pool <pool>] [-id <id>]",
        "List cache directives.\n
-stats  List path-based cache directive statistics.
<path>  List only cache directives with this path. Note that if there is a
        cache directive for <path> in a cache pool that we don't have read
        access for, it will not be listed.
<pool>  List only path cache directives in that pool.
<id>    List the cache directive with this id.",
    ),
    row(
        "removeDirective",
        Verb::RemoveDirective,
        "<id>",
        "Remove a cache directive.\n
<id>  The id of the cache directive to remove.  You must have write permission
      on the pool of the directive in order to remove it.  To see a list of
      cache directive IDs, use the -listDirectives command.",
    ),
    row(
        "removeDirectives",
        Verb::RemoveDirectives,
        "-path <path>",
        "Remove every cache directive with the specified path.\n
-path <path>  The path of the cache directives to remove.  You must have write
              permission on the pool of the directive in order to remove it.
              To see a list of cache directives, use the -listDirectives
              command.",
    ),
    row(
        "addPool",
        Verb::AddPool,
        POOL_ARGUMENTS,
        "Add a new cache pool.\n
<name>                Name of the new pool.
<owner>               Username of the owner of the pool. Defaults to the
                      current user.
<group>               Group of the pool. Defaults to the primary group name of
                      the current user.
<mode>                UNIX-style permissions for the pool. Permissions are
                      specified in octal, e.g. 0755. By default, this is set to
                      0755.
<limit>               The maximum number of bytes that can be cached by
                      directives in this pool, in aggregate. By default, no
                      limit is set.
<defaultReplication>  The default replication number for cache directive in the
                      pool. If not set, the replication is set to 1
<maxTtl>              The maximum allowed time-to-live for directives being
                      added to the pool. This can be specified in seconds,
                      minutes, hours, and days, e.g. 120s, 30m, 4h, 2d. Valid
                      units are [smhd]. By default, no maximum is set. A value
                      of \"never\" specifies that there is no limit.",
    ),
    row(
        "modifyPool",
        Verb::ModifyPool,
        POOL_ARGUMENTS,
        "Modifies the metadata of an existing cache pool. See usage of -addPool for more
details.\n
<name>                Name of the pool to modify.
<owner>               Username of the owner of the pool
<group>               Groupname of the group of the pool.
<mode>                Unix-style permissions of the pool in octal.
<limit>               Maximum number of bytes that can be cached by this pool.
<defaultReplication>  Default replication num for directives in this pool
<maxTtl>              The maximum allowed time-to-live for directives being
                      added to the pool.",
    ),
    row(
        "removePool",
        Verb::RemovePool,
        "<name>",
        "Remove a cache pool. This also uncaches paths associated with the pool.\n
<name>  Name of the cache pool to remove.",
    ),
    row(
        "listPools",
        Verb::ListPools,
        "[-stats] [<name>]",
        "Display information about one or more cache pools, e.g. name, owner, group,
permissions, etc.\n
-stats  Display additional cache pool statistics.
<name>  If specified, list only the named cache pool.",
    ),
    row(
        "help",
        Verb::Help,
        "<command-name>",
        "Get detailed help about a command.",
    ),
];

/// How the command is used.
pub fn usage() -> String {
    let mut text = "Usage: bin/hdfs cacheadmin [COMMAND]\n".to_owned();
    for row in ROWS {
        text.push_str(&format!("          [{}]\n", row.synopsis()));
    }
    text
}

/// Why a command ends with another status than 0. The words are printed as they are.
#[derive(Debug)]
enum Ended {
    /// Nothing was called.
    Refused(u8, String),
    /// A call failed.
    Failed(ClientError),
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Ended {
        Ended::Failed(error)
    }
}

type Done<T> = Result<T, Ended>;

fn misused(words: impl Into<String>) -> Ended {
    Ended::Refused(MISUSED, words.into())
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    say_what_is_waited_for();
    let mut invocation = Invocation::of(args)?;
    let words = invocation.words()?;
    let Some((command, rest)) = words.split_first() else {
        eprintln!("{}{GENERIC_OPTIONS}", usage());
        return Ok(ExitCode::from(MISUSED));
    };
    let Some(row) = ROWS.iter().find(|row| command.strip_prefix('-') == Some(row.name)) else {
        eprintln!("Can't understand command '{command}'");
        if !command.starts_with('-') {
            eprintln!("Command names must start with dashes.");
        }
        eprintln!("{}{GENERIC_OPTIONS}", usage());
        return Ok(ExitCode::from(MISUSED));
    };
    if row.verb == Verb::Help {
        return Ok(help(rest));
    }
    let ended = match Asked::of(row, Words::new(rest)) {
        Ok(asked) => {
            let conf = invocation.load()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let served = runtime.block_on(async {
                let fs = FileSystem::new(&conf, "", &super::user_name())?;
                asked.serve(&fs).await
            });
            match served {
                Ok(status) => return Ok(status),
                Err(Ended::Failed(error)) if error.remote().is_none() => {
                    eprintln!("{}", explained(&conf, &error.into()));
                    return Ok(ExitCode::from(FAILED));
                }
                Err(ended) => ended,
            }
        }
        Err(ended) => ended,
    };
    Ok(match ended {
        Ended::Refused(status, words) => {
            eprintln!("{words}");
            ExitCode::from(status)
        }
        Ended::Failed(error) => {
            eprintln!("{}", prettified(&error));
            ExitCode::from(FAILED)
        }
    })
}

/// The class and the first line of an exception (`AdminHelper.prettifyException`).
fn prettified(error: &ClientError) -> String {
    let Some(exception) = error.remote() else {
        return error.to_string();
    };
    let class = exception.class_name().rsplit(['.', '$']).next().unwrap_or_default();
    let first = exception.message.lines().next().unwrap_or_default();
    format!("{class}: {first}")
}

fn help(words: &[String]) -> ExitCode {
    let commands = || ROWS.iter().filter(|row| row.verb != Verb::Help);
    let text = |row: &Row<Verb>| format!("[{}]\n\n{}\n", row.synopsis(), row.help);
    match words {
        [] => {
            for row in commands() {
                eprintln!("{}", text(row));
            }
            ExitCode::SUCCESS
        }
        [word] => {
            let name = word.trim_start_matches('-');
            if let Some(row) = commands().find(|row| row.name == name) {
                eprint!("{}", text(row));
                return ExitCode::SUCCESS;
            }
            let names: Vec<_> = commands().map(|row| row.name).collect();
            eprintln!(
                "Unknown command '{name}'.\nValid help command names are:\n{}",
                names.join(", ")
            );
            ExitCode::from(MISUSED)
        }
        _ => {
            println!("You must give exactly one argument to -help.");
            ExitCode::SUCCESS
        }
    }
}

/// When a directive is to expire, as it was typed (`CacheAdmin.parseExpirationString`).
fn expiration(ttl: &str) -> Result<CacheDirectiveInfoExpirationProto, String> {
    let millis = match ttl.eq_ignore_ascii_case("never") {
        true => CACHE_NEVER_EXPIRES_MS,
        false => parse_relative_time(ttl)?,
    };
    Ok(CacheDirectiveInfoExpirationProto {
        millis,
        is_relative: true,
    })
}

/// A limit, as it was typed (`AdminHelper.parseLimitString`).
fn limit(word: &str) -> Done<i64> {
    match word.eq_ignore_ascii_case("unlimited") {
        true => Ok(i64::MAX),
        false => java_long(word),
    }
}

/// A call, with its arguments.
#[derive(Debug)]
enum Asked {
    AddDirective(AddCacheDirectiveRequestProto),
    ModifyDirective(ModifyCacheDirectiveRequestProto),
    ListDirectives {
        filter: CacheDirectiveInfoProto,
        with_stats: bool,
    },
    RemoveDirective(i64),
    RemoveDirectives(String),
    AddPool(CachePoolInfoProto),
    /// With its longest time to live as it was typed.
    ModifyPool(CachePoolInfoProto, Option<String>),
    RemovePool(String),
    ListPools {
        name: Option<String>,
        with_stats: bool,
    },
}

impl Asked {
    fn of(row: &Row<Verb>, words: Words) -> Done<Asked> {
        match row.verb {
            Verb::AddDirective => Asked::add_directive(words),
            Verb::ModifyDirective => Asked::modify_directive(row, words),
            Verb::ListDirectives => Asked::list_directives(words),
            Verb::RemoveDirective => Asked::remove_directive(row, words),
            Verb::RemoveDirectives => Asked::remove_directives(row, words),
            Verb::AddPool => Asked::add_pool(row, words),
            Verb::ModifyPool => Asked::modify_pool(row, words),
            Verb::RemovePool => Asked::remove_pool(row, words),
            Verb::ListPools | Verb::Help => Asked::list_pools(row, words),
        }
    }

    fn add_directive(mut words: Words) -> Done<Asked> {
        let path = words.value("-path")?;
        let path = path.ok_or_else(|| misused("You must specify a path with -path."))?;
        let pool = words.value("-pool")?;
        let pool = pool.ok_or_else(|| misused("You must specify a pool name with -pool."))?;
        let force = words.flag("-force");
        let replication = words
            .value("-replication")?
            .map(|word| java_short(&word, 10))
            .transpose()?;
        let ttl = words.value("-ttl")?.map(|ttl| expiration(&ttl)).transpose();
        let expiration = ttl.map_err(|why| misused(format!("Error while parsing ttl value: {why}")))?;
        words.no_more_but(None)?;
        Ok(Asked::AddDirective(AddCacheDirectiveRequestProto {
            info: CacheDirectiveInfoProto {
                id: None,
                path: Some(full_path(&path)),
                replication: replication.map(wire_short),
                pool: Some(pool),
                expiration,
            },
            cache_flags: force.then_some(FORCE),
        }))
    }

    fn modify_directive(row: &Row<Verb>, mut words: Words) -> Done<Asked> {
        let id = words.value("-id")?;
        let id = id.ok_or_else(|| misused("You must specify a directive ID with -id."))?;
        let id = java_long(&id)?;
        let path = words.value("-path")?;
        let force = words.flag("-force");
        let replication = words
            .value("-replication")?
            .map(|word| java_short(&word, 10))
            .transpose()?;
        let pool = words.value("-pool")?;
        let ttl = words.value("-ttl")?.map(|ttl| expiration(&ttl)).transpose();
        let expiration = ttl.map_err(|why| misused(format!("Error while parsing ttl value: {why}")))?;
        words.no_more_but(Some(row))?;
        let nothing = path.is_none() && replication.is_none() && pool.is_none() && expiration.is_none();
        if nothing {
            return Err(misused("No modifications were specified."));
        }
        Ok(Asked::ModifyDirective(ModifyCacheDirectiveRequestProto {
            info: CacheDirectiveInfoProto {
                id: Some(id),
                path: path.map(|path| full_path(&path)),
                replication: replication.map(wire_short),
                pool,
                expiration,
            },
            cache_flags: force.then_some(FORCE),
        }))
    }

    fn list_directives(mut words: Words) -> Done<Asked> {
        let path = words.value("-path")?.map(|path| full_path(&path));
        let pool = words.value("-pool")?;
        let with_stats = words.flag("-stats");
        let id = words.value("-id")?.map(|id| java_long(&id)).transpose()?;
        words.no_more_but(None)?;
        let filter = CacheDirectiveInfoProto {
            id,
            path,
            pool,
            ..CacheDirectiveInfoProto::default()
        };
        Ok(Asked::ListDirectives { filter, with_stats })
    }

    fn remove_directive(row: &Row<Verb>, mut words: Words) -> Done<Asked> {
        let word = words.first_word();
        let word = word.ok_or_else(|| misused("You must specify a directive ID to remove."))?;
        let Ok(id) = word.parse::<i64>() else {
            return Err(misused(format!(
                "Invalid directive ID {word}: expected a numeric value."
            )));
        };
        if id <= 0 {
            return Err(misused(format!(
                "Invalid directive ID {id}: ids must be greater than 0."
            )));
        }
        words.no_more_but(Some(row))?;
        Ok(Asked::RemoveDirective(id))
    }

    fn remove_directives(row: &Row<Verb>, mut words: Words) -> Done<Asked> {
        let path = words.value("-path")?;
        let path = path.ok_or_else(|| misused("You must specify a path with -path."))?;
        words.no_more_but(Some(row))?;
        Ok(Asked::RemoveDirectives(path))
    }

    fn add_pool(row: &Row<Verb>, mut words: Words) -> Done<Asked> {
        let name = words.first_word();
        let name = name.ok_or_else(|| misused("You must specify a name when creating a cache pool."))?;
        let (mut pool, _) = pool_of(&mut words)?;
        words.no_more_words(row)?;
        pool.pool_name = Some(name);
        Ok(Asked::AddPool(pool))
    }

    fn modify_pool(row: &Row<Verb>, mut words: Words) -> Done<Asked> {
        let (mut pool, ttl) = pool_of(&mut words)?;
        let name = words.first_word();
        let name = name.ok_or_else(|| misused("You must specify a name when creating a cache pool."))?;
        words.no_more_words(row)?;
        if pool == CachePoolInfoProto::default() {
            return Err(misused(
                "You must specify at least one attribute to change in the cache pool.",
            ));
        }
        pool.pool_name = Some(name);
        Ok(Asked::ModifyPool(pool, ttl))
    }

    fn remove_pool(row: &Row<Verb>, mut words: Words) -> Done<Asked> {
        let name = words.first_word();
        let name = name.ok_or_else(|| misused("You must specify a name when deleting a cache pool."))?;
        words.no_more_words(row)?;
        Ok(Asked::RemovePool(name))
    }

    fn list_pools(row: &Row<Verb>, mut words: Words) -> Done<Asked> {
        let name = words.first_word();
        let with_stats = words.flag("-stats");
        words.no_more_words(row)?;
        Ok(Asked::ListPools { name, with_stats })
    }

    async fn serve(self, fs: &FileSystem) -> Done<ExitCode> {
        match self {
            Asked::AddDirective(request) => {
                let answer: AddCacheDirectiveResponseProto = once(fs, "addCacheDirective", &request).await?;
                println!("Added cache directive {}", answer.id);
            }
            Asked::ModifyDirective(request) => {
                let _: ModifyCacheDirectiveResponseProto = once(fs, "modifyCacheDirective", &request).await?;
                println!("Modified cache directive {}", request.info.id());
            }
            Asked::ListDirectives { filter, with_stats } => {
                print!("{}", directives_text(&directives(fs, filter).await?, with_stats));
            }
            Asked::RemoveDirective(id) => {
                remove(fs, id).await?;
                println!("Removed cached directive {id}");
            }
            Asked::RemoveDirectives(path) => return remove_all(fs, &path).await,
            Asked::AddPool(info) => {
                let name = info.pool_name().to_owned();
                let request = AddCachePoolRequestProto { info };
                let _: AddCachePoolResponseProto = once(fs, "addCachePool", &request).await?;
                println!("Successfully added cache pool {name}.");
            }
            Asked::ModifyPool(info, ttl) => {
                let text = modified_text(&info, ttl.as_deref());
                let request = ModifyCachePoolRequestProto { info };
                let _: ModifyCachePoolResponseProto = once(fs, "modifyCachePool", &request).await?;
                println!("{text}");
            }
            Asked::RemovePool(pool_name) => {
                let request = RemoveCachePoolRequestProto { pool_name };
                let _: RemoveCachePoolResponseProto = once(fs, "removeCachePool", &request).await?;
                println!("Successfully removed cache pool {}.", request.pool_name);
            }
            Asked::ListPools { name, with_stats } => {
                let mut pools = pools(fs).await?;
                pools.retain(|pool| name.is_none() || pool.info.pool_name == name);
                print!("{}", pools_text(&pools, with_stats));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A short as Java sends it: made wider, with its sign.
fn wire_short(number: i16) -> u32 {
    i32::from(number).cast_unsigned()
}

/// What is said of a pool, and its longest time to live as it was typed.
fn pool_of(words: &mut Words) -> Done<(CachePoolInfoProto, Option<String>)> {
    let owner_name = words.value("-owner")?;
    let group_name = words.value("-group")?;
    let mode = words.value("-mode")?.map(|mode| java_short(&mode, 8)).transpose()?;
    let limit = words.value("-limit")?.map(|word| limit(&word)).transpose()?;
    let replication = words.value("-defaultReplication")?;
    let replication = replication.map(|word| java_short(&word, 10)).transpose()?;
    let ttl = words.value("-maxTtl")?;
    let max_relative_expiry = match &ttl {
        Some(ttl) => Some(
            expiration(ttl)
                .map_err(|why| misused(format!("Error while parsing maxTtl value: {why}")))?
                .millis,
        ),
        None => None,
    };
    let pool = CachePoolInfoProto {
        pool_name: None,
        owner_name,
        group_name,
        mode: mode.map(i32::from),
        limit,
        max_relative_expiry,
        default_replication: replication.map(wire_short),
    };
    Ok((pool, ttl))
}

async fn once<M: prost::Message, R: prost::Message + Default>(
    fs: &FileSystem,
    method: &'static str,
    request: &M,
) -> Result<R, ClientError> {
    fs.call(method, request, Idempotence::AtMostOnce).await
}

async fn remove(fs: &FileSystem, id: i64) -> Result<(), ClientError> {
    let request = RemoveCacheDirectiveRequestProto { id };
    let _: RemoveCacheDirectiveResponseProto = once(fs, "removeCacheDirective", &request).await?;
    Ok(())
}

/// Removes the directives on a path. One that can't be removed does not keep the others.
async fn remove_all(fs: &FileSystem, path: &str) -> Done<ExitCode> {
    let filter = CacheDirectiveInfoProto {
        path: Some(full_path(path)),
        ..CacheDirectiveInfoProto::default()
    };
    let mut failed = false;
    for directive in directives(fs, filter).await? {
        match remove(fs, directive.info.id()).await {
            Ok(()) => println!("Removed cache directive {}", directive.info.id()),
            Err(error) => {
                eprintln!("{}", prettified(&error));
                failed = true;
            }
        }
    }
    if failed {
        return Ok(ExitCode::from(FAILED));
    }
    println!("Removed every cache directive with path {path}");
    Ok(ExitCode::SUCCESS)
}

async fn directives(
    fs: &FileSystem,
    filter: CacheDirectiveInfoProto,
) -> Result<Vec<CacheDirectiveEntryProto>, ClientError> {
    let mut all: Vec<CacheDirectiveEntryProto> = Vec::new();
    loop {
        let request = ListCacheDirectivesRequestProto {
            prev_id: all.last().map_or(0, |last| last.info.id()),
            filter: filter.clone(),
        };
        let page: ListCacheDirectivesResponseProto = fs
            .call("listCacheDirectives", &request, Idempotence::Idempotent)
            .await?;
        let more = page.has_more && !page.elements.is_empty();
        all.extend(page.elements);
        if !more {
            return Ok(all);
        }
    }
}

async fn pools(fs: &FileSystem) -> Result<Vec<CachePoolEntryProto>, ClientError> {
    let mut all: Vec<CachePoolEntryProto> = Vec::new();
    loop {
        let prev_pool_name = all.last().map(|last| last.info.pool_name().to_owned());
        let request = ListCachePoolsRequestProto {
            prev_pool_name: prev_pool_name.unwrap_or_default(),
        };
        let page: ListCachePoolsResponseProto = fs.call("listCachePools", &request, Idempotence::Idempotent).await?;
        let more = page.has_more && !page.entries.is_empty();
        all.extend(page.entries);
        if !more {
            return Ok(all);
        }
    }
}

fn directives_text(directives: &[CacheDirectiveEntryProto], with_stats: bool) -> String {
    let mut table = Table::default();
    table.right("ID").left("POOL").right("REPL").left("EXPIRY").left("PATH");
    if with_stats {
        for title in ["BYTES_NEEDED", "BYTES_CACHED", "FILES_NEEDED", "FILES_CACHED"] {
            table.right(title);
        }
    }
    for entry in directives {
        let (info, stats) = (&entry.info, &entry.stats);
        let expiry = info.expiration.unwrap_or_default();
        let expiry = match expiry.millis > CACHE_NEVER_EXPIRES_MS / 2 {
            true => "never".to_owned(),
            false => expiration_text(&expiry),
        };
        let mut row = vec![
            info.id().to_string(),
            info.pool().to_owned(),
            info.replication().to_string(),
            expiry,
            info.path().to_owned(),
        ];
        if with_stats {
            let numbers = [
                stats.bytes_needed,
                stats.bytes_cached,
                stats.files_needed,
                stats.files_cached,
            ];
            row.extend(numbers.map(|number| number.to_string()));
        }
        table.row(row);
    }
    let ending = if directives.len() == 1 { "y" } else { "ies" };
    let found = format!("Found {} entr{ending}\n", directives.len());
    match directives {
        [] => found,
        _ => found + &table.text(),
    }
}

fn pools_text(pools: &[CachePoolEntryProto], with_stats: bool) -> String {
    let mut table = Table::default();
    table.left("NAME").left("OWNER").left("GROUP").left("MODE");
    table.right("LIMIT").right("MAXTTL").right("DEFAULT_REPLICATION");
    if with_stats {
        let titles = [
            "BYTES_NEEDED",
            "BYTES_CACHED",
            "BYTES_OVERLIMIT",
            "FILES_NEEDED",
            "FILES_CACHED",
        ];
        for title in titles {
            table.right(title);
        }
    }
    for entry in pools {
        let (info, stats) = (&entry.info, &entry.stats);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let never = |expiry: i64| match expiry == CACHE_NEVER_EXPIRES_MS {
            true => "never".to_owned(),
            false => duration_text(expiry),
        };
        // Of a pool that may not be read only the name is told; Java's tool shows what is missing so.
        let number = |number: Option<i64>| number.map_or_else(|| "null".to_owned(), |number| number.to_string());
        let mut row = vec![
            text(&info.pool_name),
            text(&info.owner_name),
            text(&info.group_name),
            info.mode
                .map_or_else(String::new, |mode| permission_text(mode.cast_unsigned())),
            match info.limit {
                Some(i64::MAX) => "unlimited".to_owned(),
                limit => number(limit),
            },
            info.max_relative_expiry.map_or_else(String::new, never),
            number(info.default_replication.map(i64::from)),
        ];
        if with_stats {
            let numbers = [
                stats.bytes_needed,
                stats.bytes_cached,
                stats.bytes_overlimit,
                stats.files_needed,
                stats.files_cached,
            ];
            row.extend(numbers.map(|number| number.to_string()));
        }
        table.row(row);
    }
    let ending = if pools.len() == 1 { "" } else { "s" };
    let found = format!("Found {} result{ending}.\n", pools.len());
    match pools {
        [] => found,
        _ => found + &table.text(),
    }
}

/// What was changed, as Java's tool says it.
fn modified_text(info: &CachePoolInfoProto, ttl: Option<&str>) -> String {
    let mut text = format!("Successfully modified cache pool {}", info.pool_name());
    let mut prefix = " to have ";
    let mut add = |what: &str, value: Option<String>, next: &'static str| {
        if let Some(value) = value {
            text.push_str(&format!("{prefix}{what} {value}"));
            prefix = next;
        }
    };
    add("owner name", info.owner_name.clone(), " and ");
    add("group name", info.group_name.clone(), " and ");
    let mode = info.mode.map(|mode| permission_text(mode.cast_unsigned()));
    add("mode", mode, " and ");
    add("limit", info.limit.map(|limit| limit.to_string()), " and ");
    let replication = info.default_replication.map(|replication| replication.to_string());
    // So it is in Java's tool.
    add("replication", replication, " replication ");
    add("max time-to-live", ttl.map(str::to_owned), "");
    text
}

#[cfg(test)]
mod tests;
