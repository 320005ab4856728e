//! Samples of all messages of Hadoop's protocols, made from their descriptions, with values that a server accepts.

use super::facts::Facts;
use anyhow::{Context, Result};
use fastrand::Rng;
use protox::prost::Message;
use protox::prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value,
};
use std::path::Path;

/// Deepest nesting of messages with optional fields. Deeper ones have only required fields.
const DEPTH: u32 = 6;
/// Elements of a long list.
const MANY: usize = 500;
/// Directory of the descriptions.
const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../formats/proto");
/// First of the block ids that no NameNode has assigned. No flipped bit turns one into an assigned id.
pub(super) const STRANGE_BLOCK: u64 = 1 << 40;
/// Number of these ids. It is limited so that DataNodes do not keep ever more blocks.
const STRANGE_BLOCKS: u64 = 4096;
/// Number of different names in directories. It is limited so that the namespace does not grow for ever.
const NAMES: usize = 40;
/// Length of a long text, in characters. It is one unit too long for the edit log, because the last character takes
/// two.
const LONG: usize = 21_844;

/// The descriptions of all messages.
#[derive(Debug)]
pub(super) struct Messages {
    pool: DescriptorPool,
}

impl Messages {
    /// Reads the descriptions.
    pub(super) fn load() -> Result<Messages> {
        let dir = Path::new(PROTO);
        let mut files: Vec<_> = std::fs::read_dir(dir)
            .with_context(|| dir.display().to_string())?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        let descriptors = protox::compile(&files, [dir])?;
        Ok(Messages {
            pool: DescriptorPool::from_file_descriptor_set(descriptors)?,
        })
    }

    /// A description by its full name (`hathi.hdfs.CreateRequestProto`).
    pub(super) fn get(&self, name: &str) -> Option<MessageDescriptor> {
        self.pool.get_message_by_name(name)
    }

    /// An encoded sample.
    pub(super) fn sample(&self, name: &str, facts: &Facts, rng: &mut Rng) -> Vec<u8> {
        let descriptor = self.get(name).expect("the protocols' tables name messages that exist");
        Sampler { facts, rng }.message(&descriptor, 0).encode_to_vec()
    }
}

struct Sampler<'a> {
    facts: &'a Facts,
    rng: &'a mut Rng,
}

impl Sampler<'_> {
    fn message(&mut self, descriptor: &MessageDescriptor, depth: u32) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for field in descriptor.fields() {
            let is_wanted = match field.cardinality() {
                Cardinality::Required => true,
                Cardinality::Optional => depth < DEPTH && self.rng.u8(..10) < 7,
                Cardinality::Repeated => depth < DEPTH,
            };
            if !is_wanted {
                continue;
            }
            let value = if field.is_list() {
                let count = self.count(depth);
                Value::List((0..count).map(|_| self.value(&field, depth)).collect())
            } else {
                self.value(&field, depth)
            };
            message.set_field(&field, value);
        }
        message
    }

    /// Number of elements of a list: now and then many at the top level, few further in.
    fn count(&mut self, depth: u32) -> usize {
        match self.rng.u8(..100) {
            0 if depth == 0 => MANY,
            0..20 => 0,
            80.. if depth < 2 => self.rng.usize(2..5),
            _ => 1,
        }
    }

    fn value(&mut self, field: &FieldDescriptor, depth: u32) -> Value {
        let name = field.name().to_lowercase();
        match field.kind() {
            Kind::Bool => Value::Bool(self.rng.bool()),
            Kind::String => Value::String(self.text(&name)),
            Kind::Bytes => Value::Bytes(self.bytes(&name).into()),
            Kind::Enum(kind) => {
                let values: Vec<i32> = kind.values().map(|value| value.number()).collect();
                Value::EnumNumber(self.rng.choice(values).unwrap_or(0))
            }
            Kind::Message(descriptor) => Value::Message(self.message(&descriptor, depth + 1)),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(self.number(&name) as i32),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.number(&name) as u32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.number(&name).cast_signed()),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.number(&name)),
            Kind::Float => Value::F32(self.rng.f32()),
            Kind::Double => Value::F64(self.rng.f64()),
        }
    }

    fn bytes(&mut self, name: &str) -> Vec<u8> {
        match name {
            "clientid" => std::iter::repeat_with(|| self.rng.u8(..)).take(16).collect(),
            "startafter" => self.text("name").into_bytes(),
            _ => {
                let len = if self.rng.u8(..50) == 0 {
                    70_000
                } else {
                    self.rng.usize(..64)
                };
                std::iter::repeat_with(|| self.rng.u8(..)).take(len).collect()
            }
        }
    }

    fn text(&mut self, name: &str) -> String {
        if self.rng.u8(..100) == 0 {
            return self.hostile_text();
        }
        match name {
            "src" | "path" | "dst" | "srcs" | "trg" | "target" | "paths" | "link" | "src1" | "src2" | "parent"
            | "basepath" => self.path(),
            "identifier" | "nameserviceid" => self.facts.nameservice.clone(),
            "poolid" | "blockpoolid" | "blockpool" | "bpid" => self.facts.block_pool.clone(),
            "clusterid" => self.facts.cluster_id.clone(),
            "datanodeuuid" => format!("00000000-0000-4000-8000-{:012}", self.rng.u8(..16)),
            "storageuuid" | "storageid" | "targetstorageids" | "storageids" => format!("DS-{}", self.rng.u8(..16)),
            "ipaddr" | "hostname" => "127.0.0.1".to_owned(),
            "clientname" | "holder" | "clientmachine" => format!("mallory-{}", self.rng.u8(..8)),
            "username" | "owner" | "user" | "groupname" | "renewer" => self.one_of(&["mallory", "nobody", "eve"]),
            "protocol" => "org.apache.hadoop.hdfs.protocol.ClientProtocol".to_owned(),
            "rpckind" => "RPC_PROTOCOL_BUFFER".to_owned(),
            "location" => "/default-rack".to_owned(),
            "ecpolicyname" | "policyname" => self.one_of(&["RS-6-3-1024k", "HOT", "COLD", "ALL_SSD", ""]),
            "softwareversion" => "3.5.0".to_owned(),
            "filename" => "mallory.txt".to_owned(),
            _ => self.name(),
        }
    }

    fn one_of(&mut self, words: &[&str]) -> String {
        self.rng
            .choice(words)
            .map_or_else(String::new, |word| (*word).to_owned())
    }

    fn name(&mut self) -> String {
        format!("n{}", self.rng.usize(..NAMES))
    }

    fn path(&mut self) -> String {
        match self.rng.u8(..20) {
            0 => "/".to_owned(),
            1 => self.one_of(&[
                "/good",
                "/tmp",
                "/.reserved/raw",
                "/mallory/../good",
                "relative",
                "",
                "//",
                "/mallory//x/",
            ]),
            2 => format!("/.reserved/.inodes/{}", 16_385 + self.rng.u64(..64)),
            3 => self.facts.own_files.first().cloned().unwrap_or_default(),
            4 => (0..self.rng.usize(1..1200)).map(|_| "/d").collect(),
            _ => {
                let mut path = "/mallory".to_owned();
                for _ in 0..self.rng.u8(1..4) {
                    path = format!("{path}/{}", self.name());
                }
                path
            }
        }
    }

    /// A text that once broke a parser or a log.
    fn hostile_text(&mut self) -> String {
        match self.rng.u8(..8) {
            0 => format!("{}\u{1F600}", "a".repeat(LONG)),
            1 => "\u{10FFFF}".repeat(self.rng.usize(1..400)),
            2 => "\0".to_owned(),
            3 => "../".repeat(50),
            4 => "%s%n%d${env:PATH}".to_owned(),
            5 => "\n\r\t allowed=true ugi=root".to_owned(),
            6 => "x".repeat(self.rng.usize(1..100_000)),
            _ => "a:b@c,d;e=f&g?h#i*j[k]l{m}n".to_owned(),
        }
    }

    fn number(&mut self, name: &str) -> u64 {
        if self.rng.u8(..50) == 0 {
            return self.absurd();
        }
        match name {
            "blockid" => STRANGE_BLOCK + self.rng.u64(..STRANGE_BLOCKS),
            "generationstamp" | "genstamp" | "newgenstamp" | "newgenerationstamp" | "latestgenerationstamp" => {
                1000 + self.rng.u64(..8)
            }
            "namespceid" | "namespaceid" => self.facts.namespace_id,
            "layoutversion" => (-67_i64).cast_unsigned(),
            "ctime" => self.facts.ctime,
            "numbytes" | "length" | "len" | "newlength" | "offset" => self.rng.u64(..5000),
            "blocksize" => 1 << 20,
            "replication" => self.rng.u64(1..4),
            "perm" | "permission" => 0o755,
            "createflag" => self.rng.u64(1..4),
            "fileid" | "inodeid" => 16_385 + self.rng.u64(..64),
            // There are few such ports, and no process listens on them.
            "xferport" | "infoport" | "infosecureport" | "ipcport" => self.rng.u64(1..8),
            // A made-up DataNode has no space for blocks.
            "remaining" => 0,
            "bytesperchecksum" => 512,
            "pipelinesize" => 1,
            _ => match self.rng.u8(..8) {
                0 => self.absurd(),
                1 => 0,
                _ => self.rng.u64(..100),
            },
        }
    }

    fn absurd(&mut self) -> u64 {
        let numbers = [
            u64::MAX,
            u64::MAX - 1,
            1 << 63,
            (1 << 63) - 1,
            1 << 62,
            1 << 48,
            1 << 32,
            (1 << 32) - 1,
            1 << 31,
            (1 << 31) - 1,
        ];
        self.rng.choice(numbers).unwrap_or(u64::MAX)
    }
}
