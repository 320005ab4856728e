use super::*;
use crate::ids::{Block, BlockId, GenerationStamp, LayoutVersion};
use crate::proto::fsimage::{NameSystemSection, i_node_section::INode};
use prost::Message;

fn file(id: u64, name: &'static [u8]) -> InodeRef<'static> {
    let mut inode = InodeRef::decode(&[8, 1, 16, 1]).unwrap();
    inode.id = id;
    inode.name = name;
    inode.permission = permission_bits(3, 4, 0o644);
    inode.modification_time = 1_700_000_000_000;
    inode.access_time = 1_700_000_000_001;
    inode.replication = 3;
    inode.preferred_block_size = 128 << 20;
    inode
}

fn blocks() -> Vec<Block> {
    [(1 << 30 | 1, 100), (1 << 30 | 2, 0)]
        .map(|(id, num_bytes)| Block {
            id: BlockId(id),
            num_bytes,
            generation_stamp: GenerationStamp(1001),
        })
        .to_vec()
}

#[test]
fn inodes_are_what_prost_makes_of_them() {
    let mut bytes = Vec::new();
    file(16386, b"name").encode(&blocks(), &mut bytes);
    let inode = INode::decode_length_delimited(&bytes[..]).unwrap();
    assert_eq!((inode.id, inode.name()), (16386, &b"name"[..]));
    let decoded = inode.file.unwrap();
    assert_eq!(decoded.replication(), 3);
    assert_eq!(decoded.permission(), permission_bits(3, 4, 0o644));
    assert_eq!(decoded.blocks.len(), 2);
    assert_eq!(decoded.blocks[0].num_bytes(), 100);

    let prefix = bytes.len() - usize::from(bytes[0]);
    let back = InodeRef::decode(&bytes[prefix..]).unwrap();
    assert_eq!((back.id, back.name, back.replication), (16386, &b"name"[..], 3));
    assert_eq!(back.blocks.collect::<Vec<_>>(), blocks());
    assert_eq!(permission_parts(back.permission), (3, 4, 0o644));
}

#[test]
fn directory_entries_round_trip() {
    let mut bytes = Vec::new();
    let children: Vec<u64> = (16386..16986).collect();
    encode_directory_entry(16385, children.iter().copied(), &[], &mut bytes);
    let message = &bytes[2..];
    assert_eq!(bytes[0] & 0x7F, (message.len() & 0x7F) as u8);
    let entry = DirEntryRef::decode(message).unwrap();
    assert_eq!(entry.parent, 16385);
    assert_eq!(entry.children.collect::<Result<Vec<_>, _>>().unwrap(), children);
}

fn image() -> (Vec<u8>, ImageSummary) {
    image_in(None)
}

fn image_in(codec: Option<ImageCodec>) -> (Vec<u8>, ImageSummary) {
    let mut writer = ImageWriter::new(Hashed::new(Vec::new()), codec).unwrap();
    writer.begin(SectionName::NsInfo);
    writer
        .message(&NameSystemSection {
            transaction_id: Some(7),
            ..NameSystemSection::default()
        })
        .unwrap();
    writer.end();
    writer.begin(SectionName::Inode);
    for part in 0..3 {
        for id in 0..5 {
            let mut bytes = Vec::new();
            file(20_000 + part * 5 + id, b"f").encode(&blocks(), &mut bytes);
            writer.write(&bytes).unwrap();
        }
        writer.sub_section();
    }
    writer.end();
    writer.begin(SectionName::InodeReference);
    writer.end();
    let (out, len_bytes) = writer.finish(LayoutVersion(-67)).unwrap();
    let (bytes, md5) = out.finish();
    (bytes, ImageSummary { len_bytes, md5 })
}

#[test]
fn an_image_reads_back_the_same_in_any_codec_and_has_no_parts_then() {
    let (plain, _) = image();
    let plain = Image::open(&plain[..]).unwrap();
    for class in ["Default", "Deflate", "Gzip", "BZip2", "Snappy", "Lz4"] {
        let codec = ImageCodec::of_class(&format!("org.apache.hadoop.io.compress.{class}Codec"));
        let (bytes, summary) = image_in(codec);
        assert_eq!(summary.len_bytes, bytes.len() as u64);
        assert_eq!(summary.md5, <[u8; 16]>::from(<md5::Md5 as md5::Digest>::digest(&bytes)));
        let image = Image::open(&bytes[..]).unwrap();
        assert_eq!(image.codec(), codec);
        assert_eq!(image.sections().len(), 3, "{class}");
        for section in image.sections() {
            let mut read = image.messages(*section);
            let mut expected = plain.messages(plain.section(section.name).unwrap());
            while let Some(message) = expected.next_bytes().unwrap() {
                assert_eq!(read.next_bytes().unwrap(), Some(message), "{class}");
            }
            assert_eq!(read.next_bytes().unwrap(), None, "{class}");
        }
    }
}

#[test]
fn an_image_reads_back_whole_and_in_parts() {
    let (bytes, summary) = image();
    assert_eq!(summary.len_bytes, bytes.len() as u64);
    let image = Image::open(&bytes[..]).unwrap();
    assert_eq!(image.layout_version(), LayoutVersion(-67));
    let mut info = image.messages(image.section(SectionName::NsInfo).unwrap());
    let section: NameSystemSection = info.require().unwrap();
    assert_eq!(section.transaction_id(), 7);
    assert!(info.next_bytes().unwrap().is_none());

    let read = |sections: Vec<Section>| {
        let mut ids = Vec::new();
        for section in sections {
            let mut messages = image.messages(section);
            while let Some(message) = messages.next_bytes().unwrap() {
                ids.push(InodeRef::decode(message).unwrap().id);
            }
        }
        ids
    };
    let parts = image.parts(SectionName::Inode);
    assert_eq!(parts.len(), 3);
    let all: Vec<u64> = (20_000..20_015).collect();
    assert_eq!(read(parts), all);
    assert_eq!(read(vec![image.section(SectionName::Inode).unwrap()]), all);
}

#[test]
fn a_damaged_image_is_an_error_with_its_place() {
    let (bytes, _) = image();
    for len in 0..bytes.len() {
        assert!(Image::open(&bytes[..len]).is_err(), "cut at {len}");
    }
    for index in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 0x81;
        // Any other result must end in an answer as well.
        if let Ok(image) = Image::open(&damaged[..]) {
            for section in image.sections().to_vec() {
                let mut messages = image.messages(section);
                while let Ok(Some(message)) = messages.next_bytes() {
                    let _ = InodeRef::decode(message).map(|inode| inode.blocks.count());
                }
            }
        }
    }
    let mut cut = bytes;
    cut[0] = b'X';
    let error = Image::open(&cut[..]).unwrap_err();
    assert_eq!(error.to_string(), "at offset 0: not an fsimage: the magic is missing");
}

#[test]
fn an_inode_of_one_kind_with_the_body_of_another_is_damaged() {
    let mut bytes = Vec::new();
    file(20_000, b"f").encode(&blocks(), &mut bytes);
    let message = &bytes[bytes.iter().position(|byte| *byte == 8).unwrap()..];
    assert!(InodeRef::decode(message).is_ok());
    let mut directory = message.to_vec();
    assert_eq!(directory[..2], [8, 1], "the kind comes first");
    directory[1] = 2;
    assert!(InodeRef::decode(&directory).is_err());
    let body_at = message.iter().position(|byte| *byte == 4 << 3 | 2).unwrap();
    assert!(
        InodeRef::decode(&[message, &message[body_at..]].concat()).is_err(),
        "two bodies"
    );
}

#[test]
fn side_files_are_as_hadoop_writes_them() {
    let md5 = [0xAB; 16];
    let text = format_md5_file(&md5, "fsimage_0000000000000000042");
    assert_eq!(text, "abababababababababababababababab *fsimage_0000000000000000042\n");
    assert_eq!(parse_md5_file(&text, "fsimage_0000000000000000042"), Ok(md5));
    assert!(parse_md5_file(&text, "fsimage_0000000000000000043").is_err());
    assert!(parse_md5_file("zz", "x").is_err());
}
