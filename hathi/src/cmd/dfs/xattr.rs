//! `-getfattr`, `-setfattr` (`XAttrCommands`, `XAttrCodec`).

use super::acl::one_path;
use super::{Arguments, Item, Misuse, Shell};
use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hathi_formats::proto::hdfs::x_attr_proto::XAttrNamespaceProto as Namespace;
use hathi_formats::proto::hdfs::{self, XAttrProto, XAttrSetFlagProto};
use hathi_net::ipc::Idempotence;

/// How values are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Text,
    Hex,
    Base64,
}

impl Encoding {
    fn of(name: &str) -> Result<Encoding, Misuse> {
        match name.to_ascii_lowercase().as_str() {
            "text" => Ok(Encoding::Text),
            "hex" => Ok(Encoding::Hex),
            "base64" => Ok(Encoding::Base64),
            _ => Err(Misuse(format!("Invalid/unsupported encoding option specified: {name}"))),
        }
    }

    fn show(self, value: &[u8]) -> String {
        match self {
            Encoding::Text => format!("\"{}\"", String::from_utf8_lossy(value)),
            Encoding::Hex => value
                .iter()
                .fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}")),
            Encoding::Base64 => format!("0s{}", BASE64.encode(value)),
        }
    }
}

/// The bytes that a value on the command line stands for.
fn decode(value: &str) -> Result<Vec<u8>> {
    let prefix = value.get(..2).unwrap_or_default().to_ascii_lowercase();
    match prefix.as_str() {
        "0x" => {
            // In the words of the library that Hadoop's shell uses.
            let wrong = "org.apache.commons.codec.DecoderException:";
            let digits: Vec<char> = value.chars().skip(2).collect();
            if digits.len() % 2 == 1 {
                bail!("{wrong} Odd number of characters.");
            }
            let digit = |(at, digit): (usize, &char)| {
                let value = digit.to_digit(16).and_then(|value| u8::try_from(value).ok());
                value.with_context(|| format!("{wrong} Illegal hexadecimal character {digit} at index {at}"))
            };
            let digits: Vec<u8> = digits.iter().enumerate().map(digit).collect::<Result<_>>()?;
            Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        }
        "0s" => Ok(BASE64.decode(value.get(2..).unwrap_or_default())?),
        _ => {
            let quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
            let text = if quoted { &value[1..value.len() - 1] } else { value };
            Ok(text.as_bytes().to_vec())
        }
    }
}

/// An attribute without its value (`XAttrHelper.buildXAttr`).
fn attribute(full: &str) -> Result<XAttrProto> {
    let prefixed = "An XAttr name must be prefixed with user/trusted/security/system/raw, followed by a '.'";
    let Some((prefix, name)) = full.split_once('.') else {
        bail!(Misuse(prefixed.to_owned()));
    };
    let namespace = match prefix.to_ascii_lowercase().as_str() {
        "user" => Namespace::User,
        "trusted" => Namespace::Trusted,
        "security" => Namespace::Security,
        "system" => Namespace::System,
        "raw" => Namespace::Raw,
        _ => bail!(Misuse(prefixed.to_owned())),
    };
    if name.is_empty() {
        bail!(Misuse("XAttr name cannot be empty.".to_owned()));
    }
    Ok(XAttrProto {
        namespace: namespace.into(),
        name: name.to_owned(),
        value: None,
    })
}

fn full_name(attribute: &XAttrProto) -> String {
    let namespace = attribute.namespace().as_str_name().to_ascii_lowercase();
    format!("{namespace}.{}", attribute.name)
}

/// The place of a name among so many in a Java `HashMap`, in whose order Hadoop's shell shows attributes. Names of one place
/// stay as they came.
fn place_in_map(name: &str, count: usize) -> u32 {
    let hash = name
        .encode_utf16()
        .fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    // It has 16 places, and doubles them when three of four would be taken.
    let mut places = 16_usize;
    while count > places / 4 * 3 {
        places *= 2;
    }
    (hash ^ hash >> 16) & u32::try_from(places - 1).unwrap_or(u32::MAX)
}

impl Shell {
    pub(super) async fn getfattr(&mut self, Arguments { flags, words }: Arguments) -> Result<()> {
        let encoding = flags.value("e").map_or(Ok(Encoding::Text), Encoding::of)?;
        let name = flags.value("n");
        if name.is_none() && !flags.has("d") {
            bail!(Misuse("Must specify '-n name' or '-d' option.".to_owned()));
        }
        one_path(&words, ".")?;
        // All of them are asked for without a name.
        let wanted: Vec<XAttrProto> = match name.filter(|_| !flags.has("d")) {
            Some(name) => vec![attribute(name)?],
            None => Vec::new(),
        };
        // The next one is at the end.
        let mut items = self.expand(&words).await?;
        items.reverse();
        while let Some(item) = items.pop() {
            println!("# file: {}", item.path);
            match self.attributes_of(&item, &wanted).await {
                Ok(mut found) => {
                    let count = found.len();
                    found.sort_by_key(|attribute| place_in_map(&full_name(attribute), count));
                    for attribute in found {
                        let name = full_name(&attribute);
                        match attribute.value() {
                            [] => println!("{name}"),
                            value => println!("{name}={}", encoding.show(value)),
                        }
                    }
                    if flags.has("R") && item.is_dir() {
                        match self.children(&item.path).await {
                            Ok(children) => items.extend(children.into_iter().rev()),
                            Err(error) => self.fail(&item.path, &error),
                        }
                    }
                }
                // What is below is not looked at then.
                Err(error) => self.fail(&item.path, &error),
            }
        }
        Ok(())
    }

    async fn attributes_of(&mut self, item: &Item, wanted: &[XAttrProto]) -> Result<Vec<XAttrProto>> {
        let request = hdfs::GetXAttrsRequestProto {
            src: item.path.path.clone(),
            x_attrs: wanted.to_vec(),
        };
        let answer: hdfs::GetXAttrsResponseProto = self
            .fs(&item.path)?
            .call("getXAttrs", &request, Idempotence::Idempotent)
            .await?;
        Ok(answer.x_attrs)
    }

    pub(super) async fn setfattr(&mut self, Arguments { flags, words }: Arguments) -> Result<()> {
        let value = flags.value("v").map(decode).transpose()?;
        let (set, removed) = (flags.value("n"), flags.value("x"));
        let name = match (set, removed) {
            (Some(_), Some(_)) => bail!(Misuse(
                "Can not specify both '-n name' and '-x name' option.".to_owned()
            )),
            (None, None) => bail!(Misuse("Must specify '-n name' or '-x name' option.".to_owned())),
            (Some(name), None) | (None, Some(name)) => name,
        };
        one_path(&words, ".")?;
        for item in self.expand(&words).await? {
            let x_attr = Some(XAttrProto {
                value: value.clone().filter(|_| set.is_some()).map(Bytes::from),
                ..attribute(name)?
            });
            let src = item.path.path.clone();
            let fs = self.fs(&item.path)?;
            let result = if set.is_some() {
                let either = XAttrSetFlagProto::XattrCreate as u32 | XAttrSetFlagProto::XattrReplace as u32;
                let flag = Some(either);
                let request = hdfs::SetXAttrRequestProto { src, x_attr, flag };
                let done = fs.call("setXAttr", &request, Idempotence::AtMostOnce).await;
                done.map(|_: hdfs::SetXAttrResponseProto| ())
            } else {
                let request = hdfs::RemoveXAttrRequestProto { src, x_attr };
                let done = fs.call("removeXAttr", &request, Idempotence::AtMostOnce).await;
                done.map(|_: hdfs::RemoveXAttrResponseProto| ())
            };
            if let Err(error) = result {
                self.fail(&item.path, &error.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_text_hexadecimal_or_base64() {
        for (text, bytes) in [
            ("abc", &b"abc"[..]),
            ("\"a b\"", b"a b"),
            ("\"", b"\""),
            ("0x00fF", b"\x00\xff"),
            ("0SAP8=", b"\x00\xff"),
            ("", b""),
        ] {
            assert_eq!(decode(text).unwrap(), bytes, "{text}");
        }
        assert!(decode("0x0").is_err() && decode("0xzz").is_err() && decode("0s*").is_err());
        assert_eq!(Encoding::of("HEX").unwrap().show(b"\x00\xff"), "0x00ff");
        assert_eq!(Encoding::Base64.show(b"\x00\xff"), "0sAP8=");
        assert_eq!(Encoding::Text.show(b"a"), "\"a\"");
    }

    #[test]
    fn a_name_has_a_namespace() {
        assert_eq!(full_name(&attribute("user.a.b").unwrap()), "user.a.b");
        assert_eq!(full_name(&attribute("TRUSTED.x").unwrap()), "trusted.x");
        for wrong in ["x", "user.", "nobody.x", ".x"] {
            assert!(attribute(wrong).unwrap_err().is::<Misuse>(), "{wrong}");
        }
    }
}
