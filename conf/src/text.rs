//! The XML of a configuration file, and keys that were renamed.

use std::path::Path;
use std::sync::Arc;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::ConfError;

/// `<xi:include>` nests at most this deep.
const MAX_INCLUDE_DEPTH: usize = 8;

/// One `<property>`.
pub(super) struct Property {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) origin: Arc<str>,
    pub(super) is_final: bool,
}

pub(super) fn read_file(path: &Path, depth: usize) -> Result<Vec<Property>, ConfError> {
    let content = std::fs::read_to_string(path).map_err(|source| ConfError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&path.display().to_string(), path.parent(), &content, depth)
}

/// Which child of a `<property>` the text at hand belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Field {
    Name,
    Value,
    Final,
    Other,
}

/// Reads the properties of one file. `dir` is where `<xi:include href>` is looked up; `None` refuses includes.
pub(super) fn parse(origin: &str, dir: Option<&Path>, content: &str, depth: usize) -> Result<Vec<Property>, ConfError> {
    let mut reader = Reader::from_str(content);
    reader.config_mut().expand_empty_elements = true;
    let shared_origin: Arc<str> = origin.into();
    let problem = |problem: String| ConfError::Syntax {
        origin: origin.to_owned(),
        problem,
    };
    let mut properties = Vec::new();
    let mut open = 0_usize;
    let mut current: Option<[String; 3]> = None;
    let mut field = Field::Other;
    loop {
        let event = reader.read_event().map_err(|error| {
            problem(format!(
                "not well-formed near byte {}: {error}",
                reader.error_position()
            ))
        })?;
        match event {
            Event::Eof => break,
            Event::Start(start) => {
                open = open.saturating_add(1);
                let name = start.local_name().as_ref().to_vec();
                match name.as_slice() {
                    b"configuration" if open == 1 => {}
                    _ if open == 1 => {
                        return Err(problem("the top element is not <configuration>".to_owned()));
                    }
                    b"include" => {
                        let path = include_path(&start, dir).map_err(problem)?;
                        if depth >= MAX_INCLUDE_DEPTH {
                            return Err(problem("includes nest too deep".to_owned()));
                        }
                        properties.extend(read_file(&path, depth.saturating_add(1))?);
                    }
                    b"property" => current = Some(from_attributes(&start).map_err(problem)?),
                    b"name" => field = Field::Name,
                    b"value" => field = Field::Value,
                    b"final" => field = Field::Final,
                    _ => field = Field::Other,
                }
            }
            Event::End(end) => {
                open = open.saturating_sub(1);
                field = Field::Other;
                if end.local_name().as_ref() == b"property"
                    && let Some([name, value, is_final]) = current.take()
                {
                    let name = name.trim();
                    if name.is_empty() {
                        return Err(problem(format!(
                            "a <property> without <name> near byte {}",
                            reader.buffer_position()
                        )));
                    }
                    properties.push(Property {
                        name: name.to_owned(),
                        value,
                        origin: shared_origin.clone(),
                        is_final: is_final.trim() == "true",
                    });
                }
            }
            Event::Text(text) => {
                let text = text.xml10_content().map_err(|error| problem(error.to_string()))?;
                append(&mut current, field, &text);
            }
            Event::CData(data) => {
                let text = data.xml10_content().map_err(|error| problem(error.to_string()))?;
                append(&mut current, field, &text);
            }
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|error| problem(error.to_string()))?;
                let resolved = quick_xml::escape::unescape(&format!("&{name};"))
                    .map(|text| text.into_owned())
                    .map_err(|error| problem(error.to_string()))?;
                append(&mut current, field, &resolved);
            }
            Event::Empty(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) | Event::Comment(_) => {}
        }
    }
    if open != 0 {
        return Err(problem("ends inside an element".to_owned()));
    }
    Ok(properties)
}

fn append(current: &mut Option<[String; 3]>, field: Field, text: &str) {
    if let Some([name, value, is_final]) = current {
        match field {
            Field::Name => name.push_str(text),
            Field::Value => value.push_str(text),
            Field::Final => is_final.push_str(text),
            Field::Other => {}
        }
    }
}

/// `<property name=".." value=".." final="..">`, which Hadoop reads too.
fn from_attributes(start: &BytesStart<'_>) -> Result<[String; 3], String> {
    let field = |name: &str| attribute(start, name).map(Option::unwrap_or_default);
    Ok([field("name")?, field("value")?, field("final")?])
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    let Some(attribute) = start.try_get_attribute(name).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let raw = std::str::from_utf8(&attribute.value).map_err(|error| error.to_string())?;
    let value = quick_xml::escape::unescape(raw).map_err(|error| error.to_string())?;
    Ok(Some(value.into_owned()))
}

fn include_path(start: &BytesStart<'_>, dir: Option<&Path>) -> Result<std::path::PathBuf, String> {
    let href = attribute(start, "href")?.ok_or("an <xi:include> without href")?;
    let dir = dir.ok_or("an <xi:include> in a text that is no file")?;
    let path = href.strip_prefix("file://").unwrap_or(&href);
    Ok(dir.join(path))
}

/// Old key names and their present names (`HdfsConfiguration`, `Configuration`).
pub(super) const RENAMED: &[(&str, &str)] = &[
    ("dfs.access.time.precision", "dfs.namenode.accesstime.precision"),
    ("dfs.balance.bandwidthPerSec", "dfs.datanode.balance.bandwidthPerSec"),
    ("dfs.block.size", "dfs.blocksize"),
    ("dfs.data.dir", "dfs.datanode.data.dir"),
    ("dfs.datanode.max.xcievers", "dfs.datanode.max.transfer.threads"),
    ("dfs.encryption.key.provider.uri", "hadoop.security.key.provider.path"),
    ("dfs.federation.nameservice.id", "dfs.nameservice.id"),
    ("dfs.federation.nameservices", "dfs.nameservices"),
    ("dfs.http.address", "dfs.namenode.http-address"),
    ("dfs.https.address", "dfs.namenode.https-address"),
    ("dfs.max-repl-streams", "dfs.namenode.replication.max-streams"),
    ("dfs.max.objects", "dfs.namenode.max.objects"),
    ("dfs.name.dir", "dfs.namenode.name.dir"),
    ("dfs.name.dir.restore", "dfs.namenode.name.dir.restore"),
    ("dfs.name.edits.dir", "dfs.namenode.edits.dir"),
    (
        "dfs.namenode.replication.considerLoad",
        "dfs.namenode.redundancy.considerLoad",
    ),
    (
        "dfs.namenode.replication.considerLoad.factor",
        "dfs.namenode.redundancy.considerLoad.factor",
    ),
    (
        "dfs.namenode.replication.interval",
        "dfs.namenode.redundancy.interval.seconds",
    ),
    (
        "dfs.namenode.replication.pending.timeout-sec",
        "dfs.namenode.reconstruction.pending.timeout-sec",
    ),
    ("dfs.permissions", "dfs.permissions.enabled"),
    ("dfs.permissions.supergroup", "dfs.permissions.superusergroup"),
    ("dfs.replication.considerLoad", "dfs.namenode.redundancy.considerLoad"),
    ("dfs.replication.interval", "dfs.namenode.redundancy.interval.seconds"),
    ("dfs.replication.min", "dfs.namenode.replication.min"),
    (
        "dfs.replication.pending.timeout.sec",
        "dfs.namenode.reconstruction.pending.timeout-sec",
    ),
    ("dfs.safemode.extension", "dfs.namenode.safemode.extension"),
    ("dfs.safemode.threshold.pct", "dfs.namenode.safemode.threshold-pct"),
    ("dfs.socket.timeout", "dfs.client.socket-timeout"),
    ("dfs.write.packet.size", "dfs.client-write-packet-size"),
    ("fs.checkpoint.dir", "dfs.namenode.checkpoint.dir"),
    ("fs.checkpoint.edits.dir", "dfs.namenode.checkpoint.edits.dir"),
    ("fs.checkpoint.period", "dfs.namenode.checkpoint.period"),
    ("fs.default.name", "fs.defaultFS"),
    ("heartbeat.recheck.interval", "dfs.namenode.heartbeat.recheck-interval"),
    ("io.bytes.per.checksum", "dfs.bytes-per-checksum"),
    ("slave.host.name", "dfs.datanode.hostname"),
];

/// The present name of a key.
pub(super) fn current_name(name: &str) -> &str {
    let found = RENAMED.binary_search_by_key(&name, |(old, _)| old);
    found
        .ok()
        .and_then(|index| RENAMED.get(index))
        .map_or(name, |(_, new)| *new)
}

#[cfg(test)]
mod tests {
    use super::RENAMED;

    #[test]
    fn renamed_keys_are_sorted() {
        assert!(RENAMED.is_sorted_by(|left, right| left.0 < right.0));
    }
}
