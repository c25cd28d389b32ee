//! Groups of schedds, and those of them that an account chooses.

use std::collections::BTreeMap;
use std::path::PathBuf;

use htvault::TlsSettings;

use super::{check_length, way};
use crate::config::faults::{Faults, Located, Place, hint};
use crate::config::given::{Given, Several};
use crate::config::sections::GroupSection;
use crate::config::{Glob, NameFilter, Search};
use crate::model::delivery::{Authentication, Target};
use crate::model::names::suggestion;

/// Limit for the length of a host's name, that of DNS.
const HOST_LIMIT: usize = 253;
/// Limit for the length of a group's name, which is also the name of its directory as a schedd.
const GROUP_LIMIT: usize = 255;

/// A schedd that is listed.
#[derive(Clone, Debug)]
pub(super) struct Schedd {
    /// Name in accounts and reports.
    pub(super) name: String,
    place: Place,
    pub(super) target: Target,
}

/// A group of schedds.
#[derive(Debug)]
struct Group {
    name: String,
    listed: Vec<Schedd>,
    /// The search that finds others, without deliveries.
    search: Option<Search>,
}

/// All groups, in the order of the files.
#[derive(Debug)]
pub(super) struct Groups(Vec<Group>);

/// Schedds that an account chose.
#[derive(Debug)]
pub(super) enum Chosen<'a> {
    /// A schedd of this group.
    Listed(&'a str, &'a Schedd),
    /// Those of a search's schedds whose names match.
    Search(&'a Search, NameFilter),
}

impl Groups {
    /// `authorities` are those of Vault, for groups that name no others.
    pub(super) fn new(
        sections: &[(Located<String>, GroupSection)],
        authorities: &TlsSettings,
        faults: &mut Faults,
    ) -> Self {
        let mut known = Known::default();
        let groups = sections.iter().map(|(name, section)| {
            if Glob::is_glob(&name.value) || name.value.starts_with('!') {
                let message = "a group's name must not contain `*?[` or begin with `!`";
                faults.add(name.place, message);
            }
            check_length(name, GROUP_LIMIT, faults);
            let mut group = group(name, section, authorities, faults);
            let name = &group.name;
            group
                .listed
                .retain(|schedd| is_new(schedd, name, &mut known, faults));
            group
        });
        Self(groups.collect())
    }

    /// The schedds that are chosen by names and globs; a fault for each that matches nothing.
    pub(super) fn choose(
        &self,
        typed: &Given<Several<String>>,
        faults: &mut Faults,
    ) -> Vec<Chosen<'_>> {
        let filter = self.filter(typed.items(), faults);
        let for_found = |globs: &[Glob]| -> Vec<Glob> {
            let globs = globs.iter();
            let globs = globs.filter(|glob| self.may_be_found(glob.as_str()));
            globs.cloned().collect()
        };
        let mut chosen = Vec::new();
        for group in &self.0 {
            if filter.excludes(&group.name) {
                continue;
            }
            let is_whole = filter.includes(&group.name);
            let listed = group.listed.iter().filter(|schedd| {
                (is_whole || filter.includes(&schedd.name)) && !filter.excludes(&schedd.name)
            });
            chosen.extend(listed.map(|schedd| Chosen::Listed(&group.name, schedd)));
            if let Some(search) = &group.search {
                let mut names = NameFilter::all();
                if !is_whole {
                    names.include = for_found(&filter.include);
                }
                if !names.include.is_empty() {
                    names.exclude = for_found(&filter.exclude);
                    chosen.push(Chosen::Search(search, names));
                }
            }
        }
        chosen
    }

    /// Names and globs as typed: those after a `!` exclude.
    fn filter(&self, typed: &[Located<String>], faults: &mut Faults) -> NameFilter {
        let mut filter = NameFilter::default();
        for item in typed {
            let excluded = item.value.strip_prefix('!');
            let name = excluded.unwrap_or(&item.value);
            let list = match excluded {
                Some(_) => &mut filter.exclude,
                None => &mut filter.include,
            };
            list.extend(self.glob(item.place, name, faults));
        }
        if let Some(first) = typed.first()
            && filter.include.is_empty()
            && !filter.exclude.is_empty()
        {
            let message =
                "there is nothing to exclude it from, write for example [\"*\", \"!NAME\"]";
            faults.add(first.place, message);
        }
        filter
    }

    /// Returns true when `glob` matches a listed schedd or a group that lists it.
    pub(super) fn match_schedd(&self, glob: &Glob, schedd: &Schedd) -> bool {
        let in_group = |group: &Group| {
            let mut listed = group.listed.iter();
            glob.matches(&group.name) && listed.any(|other| other.name == schedd.name)
        };
        glob.matches(&schedd.name) || self.0.iter().any(in_group)
    }

    /// Parses a name or glob; adds a fault when it is none, or can match no schedd.
    pub(super) fn glob(&self, place: Place, name: &str, faults: &mut Faults) -> Option<Glob> {
        let glob = Glob::parse(name).map_err(|why| faults.add(place, why));
        let glob = glob.ok()?;
        let groups = self.0.iter().map(|group| group.name.as_str());
        let listed = self.0.iter().flat_map(|group| &group.listed);
        let listed = listed.map(|schedd| schedd.name.as_str());
        let all = groups.clone().chain(listed);
        if self.may_be_found(name) || all.clone().any(|name| glob.matches(name)) {
            return Some(glob);
        }
        let message = if self.0.is_empty() {
            "define it under `schedds`".to_owned()
        } else if Glob::is_glob(name) {
            format!("groups are {}", groups.collect::<Vec<&str>>().join(", "))
        } else {
            // Where no name is similar, the groups are listed: of schedds there may be many.
            suggestion(name, all).unwrap_or_else(|| hint(name, groups))
        };
        let message = format!("there is no group of schedds and no schedd {name:?}, {message}");
        faults.add(place, message);
        Some(glob)
    }

    /// Returns true when a search may find a schedd that this matches; a word without a dot is the name of a group.
    fn may_be_found(&self, name: &str) -> bool {
        let is_group = self.0.iter().any(|group| group.name == name);
        let has_search = self.0.iter().any(|group| group.search.is_some());
        has_search && !is_group && (Glob::is_glob(name) || name.contains(['.', '@']))
    }
}

/// Schedds of earlier groups, each with its group.
#[derive(Default)]
struct Known {
    /// By their names: a host name has no case, an address has one.
    names: BTreeMap<String, (Target, String)>,
    directories: BTreeMap<PathBuf, String>,
}

/// Returns true when a schedd may be used; adds a fault when its name means another schedd in an earlier group, or its
/// directory is that of an earlier group.
fn is_new(schedd: &Schedd, group: &str, known: &mut Known, faults: &mut Faults) -> bool {
    let Schedd {
        name,
        place,
        target,
    } = schedd;
    let key = if name.starts_with('<') {
        name.clone()
    } else {
        name.to_lowercase()
    };
    if let Some((other, first)) = known.names.get(&key)
        && other != target
        // Groups may differ in their case alone.
        && !matches!((other, target), (Target::Directory(_), Target::Directory(_)))
    {
        let message = format!(
            "schedd {name:?} is another one in group {first:?}, use one name for one schedd"
        );
        faults.add(*place, message);
        return false;
    }
    if let Target::Directory(path) = target
        && let Some(first) = known.directories.insert(path.clone(), group.to_owned())
    {
        let path = path.display();
        let message = format!("group {first:?} has the directory {path} already, use that group");
        faults.add(*place, message);
    }
    let first = (target.clone(), group.to_owned());
    known.names.insert(key, first);
    true
}

/// A group with the schedds that it lists, or with its search.
fn group(
    name: &Located<String>,
    section: &GroupSection,
    authorities: &TlsSettings,
    faults: &mut Faults,
) -> Group {
    let (mut listed, mut search) = (Vec::new(), None);
    let is_search = !section.collector.is_missing() || !section.constraint.is_missing();
    match (section.directory.is_missing(), section.credds.is_missing()) {
        (false, true) => listed.extend(directory(name, section, faults)),
        (true, false) => {
            if let Some(place) = section.constraint.place() {
                let message = "it is for schedds found through a collector, remove it or `credds`";
                faults.add(place, message);
            }
            if section.credds.is_empty() {
                faults.add(name.place, "`credds` lists no host, add at least one");
            }
            let found = new_search(name, section, authorities, faults);
            for host in section.credds.items() {
                check_host(host, faults);
                listed.push(Schedd {
                    name: host.value.clone(),
                    place: host.place,
                    target: found.target(&host.value),
                });
            }
        }
        (true, true) if is_search => search = Some(new_search(name, section, authorities, faults)),
        (false, false) => {
            let first = section.credds.items().first();
            let place = first.map_or(name.place, |credd| credd.place);
            let message = "a group has either `directory` or `credds`, make two groups of it";
            faults.add(place, message);
        }
        (true, true) => {
            let message = "a group needs `directory: PATH`, `credds: [HOST, ..]`, or `collector` and `constraint` to be found \
                        by";
            faults.add(name.place, message);
        }
    }
    Group {
        name: name.value.clone(),
        listed,
        search,
    }
}

/// The search of a group; one of listed schedds has the same way to them.
fn new_search(
    name: &Located<String>,
    section: &GroupSection,
    authorities: &TlsSettings,
    faults: &mut Faults,
) -> Search {
    Search {
        group: name.value.clone(),
        collector: section.collector.get().cloned(),
        constraint: section.constraint.get().map(|text| text.0.clone()),
        way: way::of(section, authorities, faults),
        authentication: Authentication {
            method: section.authenticate.get().copied().unwrap_or_default(),
            domain: section.superuser_for.get().cloned(),
        },
        templates: Vec::new(),
    }
}

fn directory(
    name: &Located<String>,
    section: &GroupSection,
    faults: &mut Faults,
) -> Option<Schedd> {
    let others = [
        section.collector.place(),
        section.constraint.place(),
        section.transport.place(),
        section.ca_file.place(),
        section.ca_dir.place(),
        section.authenticate.place(),
        section.superuser_for.place(),
    ];
    for other in others.into_iter().flatten() {
        faults.add(other, "not used with `directory`, remove it");
    }
    let directory = section.directory.located()?;
    Some(Schedd {
        name: name.value.clone(),
        place: directory.place,
        target: Target::Directory(directory.value.0.clone()),
    })
}

fn check_host(host: &Located<String>, faults: &mut Faults) {
    if host.value.contains(char::is_whitespace) {
        faults.add(host.place, "expected a host name");
    }
    // An address may be longer.
    if !host.value.starts_with('<') {
        check_length(host, HOST_LIMIT, faults);
    }
}
