//! What a line of the log looks like: as text, or as an object of JSON with the names of Hadoop's `Log4Json`.

use serde_json::{Map, Value, json};
use std::fmt::Write;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Form of the lines (`hathi.log.format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `TIME LEVEL LOGGER: MESSAGE NAME=VALUE ...`
    Text,
    /// A JSON object.
    Json,
}

/// Value of a field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Shown {
    /// A text, which is quoted.
    Text(String),
    /// Anything else as it is displayed.
    Plain(String),
    /// A number or truth value.
    Literal(String),
}

/// Parts of a line that are the same when the same happens again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Line {
    pub(super) level: Level,
    logger: String,
    message: String,
    fields: Vec<(&'static str, Shown)>,
}

impl Line {
    pub(super) fn of(event: &Event<'_>) -> Line {
        let metadata = event.metadata();
        let mut line = Line {
            level: *metadata.level(),
            logger: metadata.target().to_owned(),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut line);
        line
    }

    /// The whole line, with its newline. `more` is the number of lines like it that were left out.
    pub(super) fn encode(&self, form: Form, more: u64) -> String {
        match form {
            Form::Text => self.as_text(more),
            Form::Json => self.as_json(more),
        }
    }

    fn as_text(&self, more: u64) -> String {
        let mut out = now();
        let _ = write!(out, " {:>5} {}: ", self.level.as_str(), self.logger);
        push_plain(&mut out, &self.message);
        for (at, (name, value)) in self.fields.iter().enumerate() {
            if at > 0 || !self.message.is_empty() {
                out.push(' ');
            }
            out.push_str(name);
            out.push('=');
            match value {
                Shown::Text(text) => {
                    let _ = write!(out, "{text:?}");
                }
                Shown::Plain(text) | Shown::Literal(text) => push_plain(&mut out, text),
            }
        }
        if more > 0 {
            let _ = write!(out, " ({more} more like it)");
        }
        out.push('\n');
        out
    }

    fn as_json(&self, more: u64) -> String {
        let mut object = json_of(&self.logger, self.level.as_str(), &self.message);
        for (name, value) in &self.fields {
            let value = match value {
                Shown::Text(text) | Shown::Plain(text) => Value::from(text.as_str()),
                Shown::Literal(text) => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str())),
            };
            // A field can't take the place of a part of the line.
            let name = match object.contains_key(*name) {
                true => format!("field.{name}"),
                false => (*name).to_owned(),
            };
            object.insert(name, value);
        }
        if more > 0 {
            object.insert("more".to_owned(), Value::from(more));
        }
        format!("{}\n", Value::Object(object))
    }

    fn push(&mut self, field: &Field, value: Shown) {
        match field.name() {
            "message" => {
                let (Shown::Text(text) | Shown::Plain(text) | Shown::Literal(text)) = value;
                self.message = text;
            }
            // What comes from the crate `log` has its origin in fields.
            "log.target" => {
                let (Shown::Text(text) | Shown::Plain(text) | Shown::Literal(text)) = value;
                self.logger = text;
            }
            name if name.starts_with("log.") => {}
            name => self.fields.push((name, value)),
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, Shown::Text(value.to_owned()));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Shown::Literal(value.to_string()));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Shown::Literal(value.to_string()));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Shown::Literal(value.to_string()));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, Shown::Literal(value.to_string()));
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push(field, Shown::Plain(value.to_string()));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.push(field, Shown::Plain(format!("{value:?}")));
    }
}

/// What the log says of itself, with its newline.
pub(super) fn note(form: Form, what: &str) -> String {
    match form {
        Form::Text => format!("{what}\n"),
        Form::Json => format!("{}\n", Value::Object(json_of("hathi::log", "WARN", what))),
    }
}

fn json_of(logger: &str, level: &str, message: &str) -> Map<String, Value> {
    let since_epoch = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let thread = std::thread::current();
    let parts = json!({
        "name": logger,
        "time": u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        "date": now(),
        "level": level,
        "thread": thread.name().unwrap_or_default(),
        "message": message,
    });
    match parts {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn now() -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// Keeps one line one line, whatever a name from outside holds.
fn push_plain(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() && c != '\t' => {
                let _ = write!(out, "{}", c.escape_default());
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            level: Level::WARN,
            logger: "hathi_zkfc::run".to_owned(),
            message: "transition failed".to_owned(),
            fields: vec![
                ("name", Shown::Text("nn\n1".to_owned())),
                ("error", Shown::Plain("two\nlines".to_owned())),
                ("epoch", Shown::Literal("7".to_owned())),
                ("well", Shown::Literal("false".to_owned())),
            ],
        }
    }

    #[test]
    fn a_line_stays_one_line() {
        let text = line().encode(Form::Text, 0);
        let (_, text) = text.split_once(' ').unwrap();
        assert_eq!(
            text,
            " WARN hathi_zkfc::run: transition failed name=\"nn\\n1\" error=two\\nlines epoch=7 well=false\n"
        );
        let text = line().encode(Form::Text, 57);
        assert!(text.ends_with(" well=false (57 more like it)\n"), "{text}");
    }

    #[test]
    fn json_has_the_names_of_hadoops_and_values_with_types() {
        let text = line().encode(Form::Json, 57);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        for (name, expected) in [
            ("name", json!("hathi_zkfc::run")),
            ("level", json!("WARN")),
            ("message", json!("transition failed")),
            ("field.name", json!("nn\n1")),
            ("error", json!("two\nlines")),
            ("epoch", json!(7)),
            ("well", json!(false)),
            ("more", json!(57)),
        ] {
            assert_eq!(value[name], expected, "{name}");
        }
        assert!(value["time"].is_u64() && value["date"].is_string() && value["thread"].is_string());
        let value: Value = serde_json::from_str(&note(Form::Json, "2 lines were dropped")).unwrap();
        assert_eq!(value["message"], "2 lines were dropped");
    }
}
