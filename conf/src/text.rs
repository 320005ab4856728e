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
    let mut parser = Parser {
        origin,
        content,
        open: Vec::new(),
        current: None,
        field: Field::Other,
        properties: Vec::new(),
    };
    let mut reader = Reader::from_str(content);
    reader.config_mut().expand_empty_elements = true;
    let shared_origin: Arc<str> = origin.into();
    loop {
        // An event is what stands behind this position.
        let at = reader.buffer_position();
        let event = reader
            .read_event()
            .map_err(|error| parser.problem(reader.error_position(), format!("not well-formed: {error}")))?;
        let problem = |what: String| parser.problem(at, what);
        match event {
            Event::Eof => break,
            Event::Start(start) => {
                let name = start.local_name();
                match name.as_ref() {
                    b"configuration" if parser.open.is_empty() => {}
                    _ if parser.open.is_empty() => {
                        return Err(problem("the top element is not <configuration>".to_owned()));
                    }
                    b"include" => {
                        let path = include_path(&start, dir).map_err(problem)?;
                        if depth >= MAX_INCLUDE_DEPTH {
                            return Err(problem("includes nest too deep".to_owned()));
                        }
                        let included = read_file(&path, depth.saturating_add(1))?;
                        parser.properties.extend(included);
                    }
                    b"property" => parser.current = Some(from_attributes(&start).map_err(problem)?),
                    b"name" => parser.field = Field::Name,
                    b"value" => parser.field = Field::Value,
                    b"final" => parser.field = Field::Final,
                    _ => parser.field = Field::Other,
                }
                let name = String::from_utf8_lossy(name.as_ref()).into_owned();
                parser.open.push((name, at));
            }
            Event::End(end) => parser.end(end.local_name().as_ref(), &shared_origin)?,
            Event::Text(text) => {
                let text = text.xml10_content().map_err(|error| problem(error.to_string()))?;
                parser.append(&text);
            }
            Event::CData(data) => {
                let text = data.xml10_content().map_err(|error| problem(error.to_string()))?;
                parser.append(&text);
            }
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|error| problem(error.to_string()))?;
                let resolved = quick_xml::escape::unescape(&format!("&{name};"))
                    .map(|text| text.into_owned())
                    .map_err(|error| problem(error.to_string()))?;
                parser.append(&resolved);
            }
            Event::Empty(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) | Event::Comment(_) => {}
        }
    }
    if let Some((name, at)) = parser.open.last() {
        return Err(parser.problem(*at, format!("<{name}> is not closed")));
    }
    Ok(parser.properties)
}

/// What has been read of a file.
struct Parser<'a> {
    origin: &'a str,
    content: &'a str,
    /// The elements that are open, outermost first, and the byte at which each begins.
    open: Vec<(String, u64)>,
    /// Name, value and finality of the `<property>` that is open.
    current: Option<[String; 3]>,
    field: Field,
    properties: Vec<Property>,
}

impl Parser<'_> {
    /// An error with the line and column of a byte, both from 1; a column is a character.
    fn problem(&self, at: u64, what: String) -> ConfError {
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(self.content.len());
        let before = self.content.as_bytes().get(..at).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
        let last = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        ConfError::Syntax {
            origin: self.origin.to_owned(),
            line,
            column: String::from_utf8_lossy(last).chars().count().saturating_add(1),
            problem: what,
        }
    }

    /// An element ends. A property joins the others then.
    fn end(&mut self, name: &[u8], origin: &Arc<str>) -> Result<(), ConfError> {
        let opened = self.open.pop();
        self.field = Field::Other;
        if name != b"property" {
            return Ok(());
        }
        let Some([name, value, is_final]) = self.current.take() else {
            return Ok(());
        };
        let name = name.trim();
        if name.is_empty() {
            let at = opened.map_or(0, |(_, at)| at);
            return Err(self.problem(at, "a <property> without <name>".to_owned()));
        }
        self.properties.push(Property {
            name: name.to_owned(),
            value,
            origin: origin.clone(),
            is_final: is_final.trim() == "true",
        });
        Ok(())
    }

    fn append(&mut self, text: &str) {
        if let Some([name, value, is_final]) = &mut self.current {
            match self.field {
                Field::Name => name.push_str(text),
                Field::Value => value.push_str(text),
                Field::Final => is_final.push_str(text),
                Field::Other => {}
            }
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
