use super::*;

/// Parity of Hadoop 3.5.0's coders, as `interop/java/Coders.java` prints it: codec, data units, parity units, bytes of a
/// unit, and the parity units in hexadecimal. [`data`] says what the data units are.
const RECORDED: &str = include_str!("recorded.txt");

/// A data unit as the recorder makes it.
fn data(unit: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at * 31 + unit * 97 + (at >> 3) * 5 + 1) as u8)
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn views(units: &[Vec<u8>]) -> Vec<&[u8]> {
    units.iter().map(Vec::as_slice).collect()
}

#[test]
fn parity_is_hadoops() {
    let mut codecs = Vec::new();
    for line in RECORDED.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u8>().unwrap();
        let coder = Coder::new(Codec::named(words[0]).unwrap(), number(1), number(2)).unwrap();
        let length = usize::from(number(3));
        let units: Vec<Vec<u8>> = (0..coder.data_units()).map(|unit| data(unit, length)).collect();
        let parity = coder.encoder().applied(&views(&units)).unwrap();
        let parity: Vec<String> = parity.iter().map(|unit| hex(unit)).collect();
        assert_eq!(parity, words[4..], "{words:?}");
        codecs.push(words[0]);
    }
    codecs.dedup();
    assert_eq!(codecs, ["rs", "rs-legacy", "xor"]);
}

/// All sets of so many of the units.
fn choices(units: u8, count: usize) -> Vec<Vec<u8>> {
    let sets = 0..1u32 << units;
    let of_size = sets.filter(|set| set.count_ones() as usize == count);
    of_size
        .map(|set| (0..units).filter(|unit| set >> unit & 1 == 1).collect())
        .collect()
}

#[test]
fn any_units_as_many_as_hold_the_data_give_all_others() {
    for (codec, data_units, parity_units) in [
        (Codec::Rs, 3, 2),
        (Codec::Rs, 6, 3),
        (Codec::Rs, 10, 4),
        (Codec::Rs, 1, 15),
        (Codec::RsLegacy, 6, 3),
        (Codec::RsLegacy, 3, 2),
        (Codec::Xor, 2, 1),
        (Codec::Xor, 15, 1),
    ] {
        let coder = Coder::new(codec, data_units, parity_units).unwrap();
        let mut units: Vec<Vec<u8>> = (0..coder.data_units()).map(|unit| data(unit, 9)).collect();
        units.extend(coder.encoder().applied(&views(&units)).unwrap());
        let all: Vec<u8> = (0..data_units + parity_units).collect();
        for have in choices(data_units + parity_units, coder.data_units()) {
            let inputs: Vec<&[u8]> = have.iter().map(|unit| units[usize::from(*unit)].as_slice()).collect();
            let decoder = coder.decoder(&have, &all).unwrap();
            assert_eq!(decoder.applied(&inputs).unwrap(), units, "{codec:?} from {have:?}");
        }
    }
}

#[test]
fn what_can_not_be_decoded_is_refused() {
    let coder = Coder::new(Codec::Rs, 3, 2).unwrap();
    assert!(coder.decoder(&[0, 1, 4], &[2]).is_some());
    for have in [&[0, 1][..], &[0, 1, 1], &[0, 1, 5], &[0, 1, 2, 3], &[]] {
        assert!(coder.decoder(have, &[2]).is_none(), "{have:?}");
    }
    assert!(coder.decoder(&[0, 1, 4], &[5]).is_none());
    for (codec, data, parity) in [
        (Codec::Rs, 0, 2),
        (Codec::Rs, 3, 0),
        (Codec::Rs, 13, 4),
        (Codec::Rs, 255, 255),
        (Codec::Xor, 3, 2),
    ] {
        assert!(Coder::new(codec, data, parity).is_none(), "{codec:?} {data} {parity}");
    }
    assert_eq!(Codec::named("RS"), None);
}

#[test]
fn a_policy_names_its_coder() {
    let mut policy = ErasureCodingPolicyProto {
        id: 3,
        ..ErasureCodingPolicyProto::default()
    };
    let (coder, striping) = Coder::of_policy(&policy).unwrap();
    assert_eq!((coder.data_units(), coder.units(), striping.cell_size), (6, 9, 1 << 20));
    policy.id = 64;
    assert!(Coder::of_policy(&policy).is_none(), "it says nothing");
    policy.cell_size = Some(4096);
    let schema = policy.schema.get_or_insert_default();
    (schema.data_units, schema.parity_units) = (4, 2);
    schema.codec_name = "rs".to_owned();
    assert_eq!(Coder::of_policy(&policy).unwrap().0.units(), 6);
    policy.schema.get_or_insert_default().codec_name = "dummy".to_owned();
    assert!(Coder::of_policy(&policy).is_none());
}
