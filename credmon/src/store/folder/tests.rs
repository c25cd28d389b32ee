use super::*;
use std::os::unix::fs::symlink;

#[test]
fn only_plain_files_of_bounded_size_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("plain"), "content").unwrap();
    std::fs::write(at("large"), [b'x'; 101]).unwrap();
    symlink("plain", at("link")).unwrap();
    std::fs::create_dir(at("directory")).unwrap();
    nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let read = |name| folder.read(name, 100).map(|(_, content)| content.to_vec());
    assert_eq!(read("plain").unwrap(), b"content");
    assert_eq!(read("large"), Err(ReadError::TooLarge));
    assert_eq!(read("link"), Err(ReadError::NotAFile("a symbolic link")));
    assert_eq!(read("directory"), Err(ReadError::NotAFile("a directory")));
    assert_eq!(read("pipe"), Err(ReadError::NotAFile("a pipe")));
    assert_eq!(read("socket"), Err(ReadError::NotAFile("a socket")));
    assert_eq!(read("none"), Err(ReadError::Missing));
}

#[test]
fn a_link_to_a_folder_is_not_opened_and_a_removed_folder_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    let root = Folder::open(dir.path()).unwrap();
    assert!(matches!(
        root.folder("link").unwrap_err(),
        Errno::ELOOP | Errno::ENOTDIR
    ));
    let real = root.folder("real").unwrap();
    std::fs::remove_dir(dir.path().join("real")).unwrap();
    assert_eq!(real.read("x.top", 10).unwrap_err(), ReadError::Missing);
    assert_eq!(root.folder("real").unwrap_err(), Errno::ENOENT);
}

#[test]
fn a_file_that_was_replaced_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    std::fs::write(&path, "1").unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let version = |folder: &Folder| file_id(&folder.read("a", 10).unwrap().0);
    let first = version(&folder);
    assert_eq!(first, file_id(&folder.stat_of("a").unwrap().unwrap()));
    std::fs::write(dir.path().join("b"), "1").unwrap();
    std::fs::rename(dir.path().join("b"), &path).unwrap();
    assert_ne!(first, version(&folder));
}

#[test]
fn names_that_are_no_text_count_too() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = tempfile::tempdir().unwrap();
    for n in 0..5 {
        let name = [b"\xff".as_slice(), &[b'0' + n]].concat();
        std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(&name)), "").unwrap();
    }
    let folder = Folder::open(dir.path()).unwrap();
    assert_eq!(folder.first_names(4).unwrap(), (Vec::new(), false));
    assert_eq!(folder.first_names(5).unwrap(), (Vec::new(), true));
    std::fs::write(dir.path().join("text"), "").unwrap();
    assert_eq!(folder.names().unwrap(), ["text"]);
}
