//! The file of `hathi ec -addPolicies` (`ECPolicyLoader`).

use hathi_formats::erasure_coding::policy_name;
use hathi_formats::proto::hdfs::{EcSchemaOptionEntryProto, EcSchemaProto, ErasureCodingPolicyProto};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::collections::BTreeMap;
use std::path::Path;

/// The version of the form of the file.
const LAYOUT_VERSION: i32 = 1;
/// A file of policies is no longer than this. There can be 64 of them.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Elements in elements.
const DEPTH_MAX: usize = 32;

/// What is wrong with a file, by what Java's tool throws.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// `IllegalArgumentException`
    Illegal(String),
    /// `RuntimeException`
    Bad(String),
}

fn illegal<T>(why: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Illegal(why.into()))
}

fn bad<T>(why: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Bad(why.into()))
}

/// An element.
#[derive(Debug, Default)]
struct Element {
    name: String,
    id: String,
    /// The text before the first child. `None` when there is none.
    text: Option<String>,
    children: Vec<Element>,
}

impl Element {
    fn of(start: &BytesStart<'_>) -> Element {
        let id = start.try_get_attribute("id").ok().flatten();
        Element {
            name: String::from_utf8_lossy(start.name().as_ref()).into_owned(),
            id: id.map_or_else(String::new, |id| String::from_utf8_lossy(&id.value).into_owned()),
            ..Element::default()
        }
    }

    /// The first element of this name below this one (`getElementsByTagName`).
    fn find(&self, name: &str) -> Option<&Element> {
        (self.children.iter()).find_map(|child| {
            if child.name == name {
                Some(child)
            } else {
                child.find(name)
            }
        })
    }

    /// The text, which has to be there. `shown` is in the refusal.
    fn value(&self, shown: &str) -> Result<&str, Problem> {
        match &self.text {
            Some(text) => Ok(text.trim()),
            None => illegal(format!("Value of <{shown}> is null")),
        }
    }
}

/// The root element of a document.
fn parse(text: &str) -> Option<Element> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = vec![Element::default()];
    loop {
        match reader.read_event().ok()? {
            Event::Start(_) if open.len() > DEPTH_MAX => return None,
            Event::Start(start) => open.push(Element::of(&start)),
            Event::Empty(start) => open.last_mut()?.children.push(Element::of(&start)),
            Event::Text(piece) => add_text(open.last_mut()?, &piece.decode().ok()?),
            Event::CData(piece) => add_text(open.last_mut()?, &piece.decode().ok()?),
            Event::End(_) => {
                let done = open.pop()?;
                open.last_mut()?.children.push(done);
            }
            Event::Eof => break,
            // Entities of the document's own are not expanded, as by Hadoop's parser.
            Event::DocType(_) => return None,
            Event::GeneralRef(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
    let mut document = open.pop()?;
    (open.is_empty() && document.children.len() == 1).then(|| document.children.remove(0))
}

fn add_text(element: &mut Element, piece: &str) {
    if element.children.is_empty() {
        element.text.get_or_insert_default().push_str(piece);
    }
}

/// Reads a file. One that does not exist has no policies.
pub(super) fn load(file: &Path) -> Result<Vec<ErasureCodingPolicyProto>, Problem> {
    let Ok(about) = std::fs::metadata(file) else {
        return Ok(Vec::new());
    };
    let text = match about.len() {
        ..=FILE_MAX_BYTES => std::fs::read_to_string(file).ok(),
        _ => None,
    };
    match text.and_then(|text| parse(&text)) {
        Some(root) => policies_of(&root),
        None => bad(format!("Failed to load EC policy file: {}", file.display())),
    }
}

fn policies_of(root: &Element) -> Result<Vec<ErasureCodingPolicyProto>, Problem> {
    if root.name != "configuration" {
        return bad("Bad EC policy configuration file: top-level element not <configuration>");
    }
    let Some(version) = root.find("layoutversion") else {
        return bad("Bad EC policy configuration file: no <layoutVersion> element");
    };
    let version = version.value("layoutVersion")?;
    let Ok(number) = version.parse::<i32>() else {
        return illegal(format!(
            "Bad layoutVersion value {version} is found. It should be an integer"
        ));
    };
    if number != LAYOUT_VERSION {
        return bad("The parse failed because of bad layoutversion value");
    }
    let Some(schemas) = root.find("schemas") else {
        return bad("Bad EC policy configuration file: no <schemas> element");
    };
    let schemas = schemas_of(schemas)?;
    let Some(policies) = root.find("policies") else {
        return bad("Bad EC policy configuration file: no <policies> element");
    };
    let mut all = Vec::new();
    for element in &policies.children {
        if element.name != "policy" {
            return bad(format!("Bad element in EC policy configuration file: {}", element.name));
        }
        let policy = policy_of(element, &schemas)?;
        if !all.contains(&policy) {
            all.push(policy);
        }
    }
    Ok(all)
}

fn schemas_of(schemas: &Element) -> Result<BTreeMap<&str, EcSchemaProto>, Problem> {
    let mut all: BTreeMap<&str, EcSchemaProto> = BTreeMap::new();
    for element in &schemas.children {
        if element.name != "schema" {
            return bad(format!("Bad element in EC policy configuration file: {}", element.name));
        }
        let schema = schema_of(element)?;
        if all.values().any(|other| *other == schema) {
            return bad(format!(
                "Repetitive schemas in EC policy configuration file: {}",
                element.id
            ));
        }
        all.insert(&element.id, schema);
    }
    Ok(all)
}

/// `ECSchema`, of options by name.
fn schema_of(element: &Element) -> Result<EcSchemaProto, Problem> {
    let mut options: BTreeMap<&str, &str> = BTreeMap::new();
    for field in &element.children {
        let name = match &*field.name {
            "k" => "numDataUnits",
            "m" => "numParityUnits",
            name => name,
        };
        options.insert(name, field.value(name)?);
    }
    if options.is_empty() {
        return illegal("No schema options are provided");
    }
    let Some(codec) = options.remove("codec").filter(|codec| !codec.is_empty()) else {
        return illegal("No codec option is provided");
    };
    let mut number = |name: &str| match options.remove(name).map(|value| (value, value.parse::<i32>())) {
        None => Ok(None),
        Some((value, Err(_))) => illegal(format!(
            "Option value {value} for {name} is found. It should be an integer"
        )),
        Some((_, Ok(number))) if number <= 0 => illegal(format!("Bad option value {number} found for {name}")),
        Some((_, Ok(number))) => Ok(Some(number.unsigned_abs())),
    };
    let (Some(data_units), Some(parity_units)) = (number("numDataUnits")?, number("numParityUnits")?) else {
        return illegal("No good option for numDataUnits or numParityUnits found ");
    };
    let option = |(key, value): (&str, &str)| EcSchemaOptionEntryProto {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    Ok(EcSchemaProto {
        codec_name: codec.to_owned(),
        data_units,
        parity_units,
        options: options.into_iter().map(option).collect(),
    })
}

fn policy_of(element: &Element, schemas: &BTreeMap<&str, EcSchemaProto>) -> Result<ErasureCodingPolicyProto, Problem> {
    let (mut schema, mut cell_size) = (None, 0_i32);
    for field in &element.children {
        let value = field.value(&field.name)?;
        match &*field.name {
            // What is only white space counts as nothing.
            _ if value.is_empty() => {}
            "schema" => schema = schemas.get(value),
            "cellsize" => {
                let Ok(number) = value.parse() else {
                    return illegal(format!(
                        "Bad EC policy cellsize value {value} is found. It should be an integer"
                    ));
                };
                cell_size = number;
            }
            _ => {}
        }
    }
    let (Some(schema), Ok(cell_size @ 1..)) = (schema, u32::try_from(cell_size)) else {
        return bad("Bad policy is found in EC policy configuration file");
    };
    if cell_size % 1024 != 0 {
        return illegal("cellSize must be 1024 aligned");
    }
    Ok(ErasureCodingPolicyProto {
        name: Some(policy_name(
            &schema.codec_name,
            schema.data_units,
            schema.parity_units,
            cell_size,
        )),
        schema: Some(schema.clone()),
        cell_size: Some(cell_size),
        // -1 of a byte: the NameNode gives the id.
        id: u32::MAX,
        state: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMAS: &str = "<schemas><!-- c --><schema id='a'><codec>rs</codec><k>4</k><m>2</m><options> </options>\
        </schema></schemas>";

    fn of(text: &str) -> Result<Vec<ErasureCodingPolicyProto>, Problem> {
        policies_of(&parse(text).expect("it is XML"))
    }

    fn file(schemas: &str, policies: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<configuration>\n<layoutversion>1</layoutversion>{schemas}\
             <policies>{policies}</policies></configuration>"
        )
    }

    #[test]
    fn policies_are_read() {
        let policy = "<policy><schema>a</schema><cellsize>131072</cellsize></policy>";
        let all = of(&file(SCHEMAS, &format!("{policy}\n{policy}"))).unwrap();
        assert_eq!(all.len(), 1, "repeated ones count once");
        let schema = all[0].schema.clone().unwrap();
        assert_eq!(all[0].name(), "RS-4-2-128k");
        assert_eq!((schema.data_units, schema.parity_units), (4, 2));
        // Whatever else a schema has is an option of the codec.
        let options: Vec<_> = schema
            .options
            .iter()
            .map(|option| (&*option.key, &*option.value))
            .collect();
        assert_eq!(options, [("options", "")]);
    }

    #[test]
    fn a_bad_file_is_refused_in_the_words_of_hadoop() {
        let illegal = |why: &str| Problem::Illegal(why.to_owned());
        let bad = |why: &str| Problem::Bad(why.to_owned());
        let policy = |fields: &str| file(SCHEMAS, &format!("<policy>{fields}</policy>"));
        let schema = |fields: &str| file(&format!("<schemas><schema id='a'>{fields}</schema></schemas>"), "");
        for (text, problem) in [
            (
                "<x/>".to_owned(),
                bad("Bad EC policy configuration file: top-level element not <configuration>"),
            ),
            (
                "<configuration/>".to_owned(),
                bad("Bad EC policy configuration file: no <layoutVersion> element"),
            ),
            (
                "<configuration><layoutversion/></configuration>".to_owned(),
                illegal("Value of <layoutVersion> is null"),
            ),
            (
                "<configuration><layoutversion>x</layoutversion></configuration>".to_owned(),
                illegal("Bad layoutVersion value x is found. It should be an integer"),
            ),
            (
                "<configuration><layoutversion>2</layoutversion></configuration>".to_owned(),
                bad("The parse failed because of bad layoutversion value"),
            ),
            (
                file("<schemas><x/></schemas>", ""),
                bad("Bad element in EC policy configuration file: x"),
            ),
            (schema("<k>2</k>"), illegal("No codec option is provided")),
            (
                schema("<codec>rs</codec><k>2</k>"),
                illegal("No good option for numDataUnits or numParityUnits found "),
            ),
            (
                schema("<codec>rs</codec><k>-2</k>"),
                illegal("Bad option value -2 found for numDataUnits"),
            ),
            (
                schema("<codec>rs</codec><k>two</k>"),
                illegal("Option value two for numDataUnits is found. It should be an integer"),
            ),
            (schema("<codec/>"), illegal("Value of <codec> is null")),
            (
                policy("<schema>b</schema><cellsize>1024</cellsize>"),
                bad("Bad policy is found in EC policy configuration file"),
            ),
            (
                policy("<schema>a</schema><cellsize>1000</cellsize>"),
                illegal("cellSize must be 1024 aligned"),
            ),
            (
                policy("<schema>a</schema><cellsize>1k</cellsize>"),
                illegal("Bad EC policy cellsize value 1k is found. It should be an integer"),
            ),
        ] {
            assert_eq!(of(&text), Err(problem), "{text}");
        }
    }

    #[test]
    fn a_file_that_is_no_xml_is_refused() {
        for text in [
            "",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
            &"<a>".repeat(100),
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
