use super::*;
use hathi_formats::fsimage::format_md5_file;
use hathi_storage::SimDisk;

const DIR: &str = "/name/current";

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk
}

fn put(disk: &SimDisk, name: &str, data: &[u8]) -> PathBuf {
    let path = Path::new(DIR).join(name);
    disk.write_small(&path, data).unwrap();
    path
}

#[test]
fn images_are_found_newest_first_and_checkpoints_are_not_images() {
    let disk = disk();
    for name in [
        "fsimage_0000000000000000003",
        "fsimage_0000000000000000020",
        "fsimage_0000000000000000020.md5",
        "fsimage.ckpt_0000000000000000030",
        "fsimage.ckpt_0000000000000000030.upload",
        // One more than Java's longest.
        "fsimage_9223372036854775808",
        "fsimage_+000000000000000040",
    ] {
        put(&disk, name, b"");
    }
    let dirs = [PathBuf::from(DIR), PathBuf::from("/gone/current")];
    let txids = |disk| {
        let found = images_in(disk, &dirs);
        found.iter().map(|image| image.txid.0).collect::<Vec<_>>()
    };
    assert_eq!(txids(&disk), [20, 3]);
    assert_eq!(remove_unfinished(&disk, &dirs), 2);
    assert_eq!(txids(&disk), [20, 3]);
    let names = disk.list(Path::new(DIR)).unwrap();
    assert!(!names.iter().any(|entry| entry.name.contains("ckpt")), "{names:?}");
}

#[test]
fn an_md5_file_must_name_its_image() {
    let (disk, name) = (disk(), image_name(TxId(7)));
    let md5 = [0xab; 16];
    let image = put(&disk, &name, b"");
    let write = |text: &str| disk.write_small(&md5_path(&image), text.as_bytes()).unwrap();
    assert!(matches!(read_md5(&disk, &image), Err(LoadError::Md5File { .. })));
    write(&format_md5_file(&md5, &name));
    assert_eq!(read_md5(&disk, &image).unwrap(), md5);
    write(&format_md5_file(&md5, &image_name(TxId(8))));
    assert!(matches!(
        read_md5(&disk, &image),
        Err(LoadError::Md5FileOfAnother { .. })
    ));
}

#[test]
fn a_digest_is_of_the_whole_file() {
    let disk = disk();
    let path = Path::new(DIR).join("large");
    let data: Vec<u8> = (0..DIGEST_CHUNK_BYTES + 77).map(|at| (at % 251) as u8).collect();
    disk.create(&path).unwrap().write_at(0, &data).unwrap();
    assert_eq!(digest_of(&disk, &path).unwrap(), md5_of(&data));
    let empty = put(&disk, "empty", b"");
    assert_eq!(digest_of(&disk, &empty).unwrap(), md5_of(b""));
}

/// What is loaded when reads of these images end so.
fn loaded(ends: &[(u64, fn(PathBuf) -> Result<(), LoadError>)]) -> (Result<u64, NotLoaded>, Vec<u64>) {
    let disk = disk();
    for (txid, _) in ends {
        put(&disk, &image_name(TxId(*txid)), b"");
    }
    let mut passed_over = Vec::new();
    let loaded = load_newest(
        images_in(&disk, &[DIR.into()]),
        |image| {
            let (_, end) = ends.iter().find(|(txid, _)| *txid == image.txid.0).unwrap();
            end(image.path.clone())
        },
        |image, _| passed_over.push(image.txid.0),
    );
    (loaded.map(|(image, ())| image.txid.0), passed_over)
}

fn whole(_: PathBuf) -> Result<(), LoadError> {
    Ok(())
}

fn damaged(path: PathBuf) -> Result<(), LoadError> {
    // Damaged bytes may look like anything.
    let loaded = Err(ImageError::Unsupported("layout version -66".to_owned()));
    ImageFile { txid: TxId(1), path }
        .check([1; 16], [2; 16], loaded)
        .map(drop)
}

fn unreadable(image: PathBuf) -> Result<(), LoadError> {
    let source = io::Error::other("a disk");
    Err(LoadError::Unreadable { image, source })
}

fn newer_than_this(_: PathBuf) -> Result<(), LoadError> {
    Err(ImageError::Unsupported("snapshots".to_owned()).into())
}

#[test]
fn an_older_image_is_loaded_only_when_the_newer_ones_are_damaged() {
    assert_eq!(loaded(&[(9, whole), (5, whole)]).0.unwrap(), 9);
    let (found, passed_over) = loaded(&[(9, damaged), (7, unreadable), (5, whole)]);
    assert_eq!((found.unwrap(), passed_over), (5, vec![9, 7]));
    let (found, passed_over) = loaded(&[(9, newer_than_this), (5, whole)]);
    assert!(matches!(found, Err(NotLoaded::Unsupported { .. })) && passed_over.is_empty());
}

#[test]
fn another_try_is_worth_it_only_when_a_disk_may_answer_later() {
    let hopeless = |ends: &[_]| loaded(ends).0.unwrap_err().is_hopeless();
    assert!(hopeless(&[]));
    assert!(hopeless(&[(9, damaged)]));
    assert!(hopeless(&[(9, newer_than_this)]));
    assert!(!hopeless(&[(9, damaged), (5, unreadable)]));
}

#[test]
fn an_image_is_known_by_its_digest_and_its_last_transaction() {
    let image = ImageFile {
        txid: TxId(7),
        path: image_name(TxId(7)).into(),
    };
    let check = |found, last_applied| {
        let mut namespace = Namespace::new(hathi_namespace::NamespaceConfig::default());
        namespace.set_last_applied_txid(last_applied);
        image.check([1; 16], found, Ok(namespace)).map(drop)
    };
    assert!(check([1; 16], 7).is_ok());
    assert!(matches!(check([2; 16], 7), Err(LoadError::Corrupt { .. })));
    assert!(matches!(check([1; 16], 8), Err(LoadError::OfAnotherTransaction { .. })));
    let unsupported = Err(ImageError::Unsupported("snapshots".to_owned()));
    assert!(image.check([1; 16], [1; 16], unsupported).unwrap_err().is_unsupported());
}

#[test]
fn a_writer_goes_on_with_the_files_that_can_be_written() {
    let disk = disk();
    let paths = ["a", "b"].map(|name| Path::new(DIR).join(name));
    let gone = PathBuf::from("/gone/current/c");
    let mut all = paths.to_vec();
    all.push(gone.clone());
    let mut writer = ImageWriter::create(&disk, &all);
    writer.write_all(b"an image").unwrap();
    disk.fail_syncs(1);
    writer.finish().unwrap();
    assert!(writer.paths().eq([paths[1].as_path()]));
    let given_up: Vec<PathBuf> = writer.given_up().iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(given_up, [gone, paths[0].clone()]);
    assert!(!disk.exists(&paths[0]).unwrap());
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert_eq!(disk.durable(&paths[1]).unwrap(), b"an image");

    let mut writer = ImageWriter::create(&disk, &paths);
    writer.write_all(b"another").unwrap();
    disk.set_full(true);
    writer.finish().unwrap_err();
    assert!(!disk.exists(&paths[0]).unwrap() && !disk.exists(&paths[1]).unwrap());
}

#[test]
fn a_long_file_is_synced_while_it_is_written() {
    let disk = disk();
    let path = Path::new(DIR).join("long");
    let mut file = SyncedFile::create(&disk, &path).unwrap();
    for _ in 0..9 {
        file.write_all(&vec![1; 1 << 20]).unwrap();
    }
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert_eq!(disk.durable(&path).unwrap().len(), 8 << 20);
    file.sync_all().unwrap();
    assert_eq!(disk.durable(&path).unwrap().len(), 9 << 20);
}
