//! Check of the credential directories that a configuration names, before anything is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::future::join_all;

use super::folder;
use crate::config::Config;
use crate::model::delivery::Target;
use crate::system::files::DIRECTORIES;

/// Folders that are checked by one operation.
const FOLDERS: usize = 100;

/// A directory as the configuration has it.
#[derive(Default)]
struct Named {
    group: String,
    accounts: BTreeSet<String>,
}

/// Faults of the credential directories: others may read or replace what is stored there, or two
/// groups name one directory. A directory that this user may not read is left out.
pub(crate) async fn faults(config: &Config) -> Vec<String> {
    let mut directories: BTreeMap<&Path, Named> = BTreeMap::new();
    for delivery in &config.deliveries {
        if let Target::Directory(path) = &delivery.target {
            let named = directories.entry(path).or_default();
            named.group.clone_from(&delivery.id.schedd);
            named.accounts.insert(delivery.id.account.clone());
        }
    }
    let mut checks = Vec::new();
    for (path, named) in &directories {
        let accounts: Vec<String> = named.accounts.iter().cloned().collect();
        for accounts in accounts.chunks(FOLDERS) {
            let (directory, accounts) = (path.to_path_buf(), accounts.to_vec());
            let check = DIRECTORIES.run(path, move || folder::check(&directory, &accounts));
            checks.push(async move { (*path, check.await) });
        }
    }
    let mut faults = BTreeSet::new();
    let mut same: BTreeMap<(u64, u64), BTreeSet<&Path>> = BTreeMap::new();
    for (path, checked) in join_all(checks).await {
        let shown = path.display();
        match checked {
            Ok(Ok((id, exposures))) => {
                same.entry(id).or_default().insert(path);
                let fault = |exposure| format!("credential directory {shown}: {exposure}");
                faults.extend(exposures.iter().map(fault));
            }
            // It is missing, or not for this user; deliveries say so.
            Ok(Err(_)) => {}
            Err(failure) => {
                faults.insert(format!("credential directory {shown}: {failure}"));
            }
        }
    }
    for paths in same.into_values().filter(|paths| paths.len() > 1) {
        let groups = paths.iter().filter_map(|path| {
            let named = directories.get(path)?;
            Some(format!("{} ({})", named.group, path.display()))
        });
        let groups: Vec<String> = groups.collect();
        faults.insert(format!(
            "groups {} are one directory, and each replaces what the other stores; keep one of them",
            groups.join(" and ")
        ));
    }
    faults.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::fixtures;
    use crate::model::delivery::Delivery;

    fn to(account: &str, group: &str, path: &Path) -> Delivery {
        fixtures::delivery(account, "cms", group, Target::Directory(path.to_owned()))
    }

    #[tokio::test]
    async fn two_groups_whose_directories_are_one_by_a_link_are_a_fault() {
        let above = tempfile::tempdir().unwrap();
        let path = |name: &str| above.path().join(name);
        for name in ["a", "other"] {
            fs::create_dir(path(name)).unwrap();
        }
        symlink(path("a"), path("b")).unwrap();
        let deliveries = vec![
            to("x", "one", &path("a")),
            to("x", "two", &path("b")),
            to("x", "three", &path("other")),
            to("x", "missing", &path("none")),
        ];
        let told = faults(&fixtures::config(deliveries)).await;
        assert_eq!(
            told,
            [format!(
                "groups one ({}) and two ({}) are one directory, and each replaces what the other stores; \
                 keep one of them",
                path("a").display(),
                path("b").display()
            )]
        );
    }

    #[tokio::test]
    async fn folders_and_directories_that_let_others_in_are_faults() {
        let above = tempfile::tempdir().unwrap();
        let path = |name: &str| above.path().join(name);
        for (name, mode) in [
            ("open", 0o1777),
            ("closed", 0o2770),
            ("closed/good", 0o2700),
            ("closed/bad", 0o2705),
        ] {
            fs::create_dir(path(name)).unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let deliveries = vec![
            to("good", "here", &path("closed")),
            to("bad", "here", &path("closed")),
            to("missing", "here", &path("closed")),
            to("good", "there", &path("open")),
        ];
        let told = faults(&fixtures::config(deliveries)).await;
        let [bad, open] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert!(
            bad.contains("stored in folder bad (") && bad.contains("mode 2705"),
            "{bad}"
        );
        assert!(bad.contains("`chmod 2700` it"), "{bad}");
        assert!(open.contains("everybody may write into it ("), "{open}");
        assert!(open.contains("mode 1777"), "{open}");
    }
}
