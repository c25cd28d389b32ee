//! Files that are read, and those that are not.

use super::*;

#[test]
fn files_of_config_d_add_accounts_and_repeat_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let main = write(dir.path(), "c.yaml", GOOD);
    let more =
        "accounts:\n  b: {principal: b@T, keytab: /kt, schedds: [here], credentials: {cms: {}}}\n";
    write(dir.path(), "config.d/10-b.yaml", more);
    write(dir.path(), "config.d/ignored.yml~", "rubbish: [");
    assert_eq!(config::load(&main).unwrap().deliveries.len(), 2);

    write(
        dir.path(),
        "config.d/20-c.yaml",
        &format!("vault: {{}}\n{more}"),
    );
    let told = config::load(&main)
        .unwrap_err()
        .to_string()
        .replace(&format!("{}/", dir.path().display()), "");
    assert_eq!(
        told,
        "config.d/20-c.yaml:1:1: vault: it is defined at c.yaml:1:1 already, keep one of them\n\
         config.d/20-c.yaml:3:3: accounts.b: it is defined at config.d/10-b.yaml:2:3 already, keep one of them"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_one_fault() {
    let told = config::load(Path::new("/nowhere/c.yaml"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        told,
        "/nowhere/c.yaml: the file cannot be read: No such file or directory (os error 2); correct the path or its permissions"
    );
}

#[test]
fn only_plain_files_of_bounded_size_are_read() {
    use nix::sys::stat::Mode;
    let dir = tempfile::tempdir().unwrap();
    let main = write(dir.path(), "c.yaml", GOOD);
    let told = |main: &Path| {
        let told = config::load(main).unwrap_err().to_string();
        told.replace(&format!("{}/", dir.path().display()), "")
    };
    write(dir.path(), "config.d/a.yaml", "accounts: {}\n");
    let fifo = dir.path().join("config.d/f.yaml");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let advice = "put a plain file there or correct the path";
    assert_eq!(
        told(&main),
        format!(
            "config.d/f.yaml: the file cannot be read: it is a FIFO, and only plain files are read; {advice}"
        )
    );
    fs::remove_file(&fifo).unwrap();
    fs::create_dir(&fifo).unwrap();
    assert!(told(&main).contains("it is a directory, and only plain files are read"));
    fs::remove_dir(&fifo).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &fifo).unwrap();
    assert!(told(&main).contains("it is a device, and only plain files are read"));
    fs::remove_file(&fifo).unwrap();
    let huge = fs::File::create(&fifo).unwrap();
    huge.set_len((16 << 20) + 1).unwrap();
    assert_eq!(
        told(&main),
        "config.d/f.yaml: the file cannot be read: it is larger than 16384 KiB; make it smaller or correct the path"
    );
    assert!(
        told(Path::new("/dev/zero")).starts_with("/dev/zero: the file cannot be read: it is a")
    );
    fs::write(&fifo, b"\xff").unwrap();
    assert_eq!(
        told(&main),
        "config.d/f.yaml: the file cannot be read: it is not UTF-8 text; correct the path or the file"
    );
}

#[test]
fn hidden_files_of_config_d_are_not_read_and_names_that_miss_the_ending_are_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let main = write(dir.path(), "c.yaml", GOOD);
    // The lock of an editor, which names nothing, and a file that it writes.
    write(dir.path(), "config.d/.a.yaml", "rubbish: [");
    std::os::unix::fs::symlink("user@host.1:2", dir.path().join("config.d/.#a.yaml")).unwrap();
    for name in ["x.yml", "y.YAML", "README", "a.yaml~"] {
        write(dir.path(), &format!("config.d/{name}"), "rubbish: [");
    }
    let config = config::load(&main).unwrap();
    let folder = format!("{}/", dir.path().display());
    let warnings = config.warnings.iter();
    let warnings: Vec<String> = warnings
        .map(|warning| warning.to_string().replace(&folder, ""))
        .collect();
    let what = "the file is not read, since its name does not end in .yaml; rename it";
    assert_eq!(
        warnings,
        [
            format!("config.d/x.yml: {what}"),
            format!("config.d/y.YAML: {what}")
        ]
    );
}
