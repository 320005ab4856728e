//! Connections to web servers: pages, edits, and uploads of images.

use super::facts::Facts;
use super::{PortKind, Stream, mutation};
use fastrand::Rng;
use md5::{Digest, Md5};

/// Most requests of one connection.
const REQUESTS: usize = 4;
/// Bytes of an image that are sent in one piece.
const PIECE_BYTES: usize = 16 << 10;

/// A connection.
pub(super) fn stream(kind: PortKind, facts: &Facts, rng: &mut Rng) -> Stream {
    let mut pieces = Vec::new();
    for _ in 0..rng.usize(1..=REQUESTS) {
        if kind == PortKind::NameNodeHttp && rng.u8(..5) == 0 {
            pieces.extend(put_image(facts, rng));
            continue;
        }
        let method = rng
            .choice([
                "GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "OPTIONS", "BREW",
            ])
            .unwrap_or("GET");
        let target = target(kind, facts, rng);
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{}", more_headers(rng));
        match rng.u8(..6) {
            0 => {
                let length = rng.choice([0, 1, 5, 1 << 30, u64::MAX]).unwrap_or(0);
                head += &format!("Content-Length: {length}\r\n\r\nabcde");
            }
            1 => {
                let size = rng
                    .choice(["5", "0", "FFFFFFFFFFFFFFFF", "-1", "7FFFFFFF;a=b"])
                    .unwrap_or("5");
                head += &format!("Transfer-Encoding: chunked\r\n\r\n{size}\r\nabcde\r\n0\r\n\r\n");
            }
            _ => head += "\r\n",
        }
        pieces.push(head.into_bytes());
    }
    Stream { pieces }
}

fn more_headers(rng: &mut Rng) -> String {
    match rng.u8(..12) {
        0 => "Accept: application/json\r\n".to_owned(),
        1 => "X-Many: 1\r\n".repeat(rng.usize(1..300)),
        2 => format!("X-Long: {}\r\n", "x".repeat(rng.usize(1..600_000))),
        3 => "Connection: close\r\n".to_owned(),
        4 => "Expect: 100-continue\r\n".to_owned(),
        5 => "Upgrade: h2c\r\nConnection: Upgrade\r\n".to_owned(),
        6 => "Range: bytes=0-18446744073709551615\r\n".to_owned(),
        _ => String::new(),
    }
}

fn target(kind: PortKind, facts: &Facts, rng: &mut Rng) -> String {
    let storage = &facts.storage_info;
    let number = rng
        .choice([
            "0",
            "1",
            "2",
            "-1",
            "latest",
            "9223372036854775807",
            "18446744073709551616",
            "NaN",
            "",
        ])
        .unwrap_or("0");
    let mut targets = vec![
        "/".to_owned(),
        "/jmx".to_owned(),
        "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystem".to_owned(),
        format!("/jmx?get=java.lang:type=Memory::{number}"),
        "/metrics".to_owned(),
        "/prom".to_owned(),
        "/../../../../etc/passwd".to_owned(),
        format!("/{}", "%2e%2e%2f".repeat(rng.usize(1..2000))),
        format!("/jmx?{}", "a=b&".repeat(rng.usize(1..5000))),
        "*".to_owned(),
    ];
    match kind {
        PortKind::NameNodeHttp => targets.extend([
            "/isActive".to_owned(),
            "/conf".to_owned(),
            "/conf?name=dfs.replication".to_owned(),
            format!("/conf?name={}", "%00".repeat(rng.usize(1..100))),
            "/fsck?ugi=mallory&path=%2F&files=1&blocks=1&locations=1&racks=1".to_owned(),
            "/fsck?ugi=mallory&path=%2Fmallory&files=1&replicaDetails=1&move=1&delete=1".to_owned(),
            format!("/fsck?ugi=mallory&blockId=blk_{number}"),
            format!("/fsck?ugi=mallory&listcorruptfileblocks=1&startblockafter={number}&path=/mallory"),
            format!("/imagetransfer?getimage=1&txid={number}&storageInfo={storage}"),
            format!("/imagetransfer?getedit=1&startTxId={number}&endTxId={number}&storageInfo={storage}"),
            format!("/imagetransfer?getimage=1&txid={number}&storageInfo=-66:1:2:CID-x"),
            "/debug/hang?what=reactor&ms=1000".to_owned(),
        ]),
        PortKind::JournalNodeHttp => targets.extend((0..3).flat_map(|_| {
            [
                format!(
                    "/getJournal?jid={}&segmentTxId={number}&storageInfo={storage}",
                    facts.nameservice
                ),
                format!("/getJournal?jid={}&segmentTxId=1&inProgressOk=true", facts.nameservice),
                format!("/getJournal?jid=..%2F..%2Fetc&segmentTxId={number}"),
                "/getJournal?jid=%00&segmentTxId=1".to_owned(),
            ]
        })),
        _ => {}
    }
    rng.choice(targets).unwrap_or_default()
}

/// A mutated image, with a digest and a length that are mostly right.
fn put_image(facts: &Facts, rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut image = facts.image.clone();
    if rng.u8(..10) > 0 {
        mutation::bytes(&mut image, rng);
    }
    let digest = match rng.u8(..5) {
        0 => "0".repeat(32),
        _ => Md5::digest(&image).iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let announced = match rng.u8(..5) {
        0 => rng.choice([0, 1, 1 << 40, u64::MAX]).unwrap_or(0),
        _ => image.len() as u64,
    };
    let txid = facts
        .image_txid
        .saturating_add(rng.choice([0, 1, 100, 1000, 10_000, 100_000, 1 << 62]).unwrap_or(1));
    let storage = &facts.storage_info;
    let head = format!(
        "PUT /imagetransfer?txid={txid}&imageFile=IMAGE&File-Length={announced}&storageInfo={storage} HTTP/1.1\r\n\
         Host: 127.0.0.1\r\nX-MD5-Digest: {digest}\r\nContent-Length: {}\r\n\r\n",
        image.len()
    );
    let mut pieces = vec![head.into_bytes()];
    pieces.extend(image.chunks(PIECE_BYTES).map(<[u8]>::to_vec));
    pieces
}

/// Number of pages and of refusals in the answers. Behind a body only the beginnings of lines count.
pub(super) fn count(answer: &[u8]) -> (u64, u64) {
    let (mut answers, mut refusals) = (0, 0);
    for window in answer.windows(10).filter(|window| window.starts_with(b"HTTP/1.1 ")) {
        match window.last() {
            Some(b'2' | b'1') => answers += 1,
            _ => refusals += 1,
        }
    }
    (answers, refusals)
}
