//! Groups of schedds, and those of them that an account chooses.

use std::collections::BTreeMap;

use super::judge_length;
use crate::config::faults::{Faults, Located, Place, hint};
use crate::config::given::{Given, Several};
use crate::config::sections::GroupSection;
use crate::config::{Glob, NameFilter, Search};
use crate::model::delivery::{Authentication, Target};
use crate::model::names::nearest;

/// Limit for the length of a host's name, that of DNS.
const HOST_LIMIT: usize = 253;
/// Limit for the length of a group's name, which stands for that of a schedd.
const GROUP_LIMIT: usize = 255;

/// A schedd that is listed, by the name that people know it by.
#[derive(Clone, Debug)]
pub(super) struct Schedd {
    pub(super) name: String,
    pub(super) target: Target,
}

/// A group of schedds and its name.
#[derive(Debug)]
struct Members {
    group: String,
    listed: Vec<Schedd>,
    /// The search that finds them; nothing is wanted there yet.
    search: Option<Search>,
}

/// All groups, in the order in which they were typed.
#[derive(Debug)]
pub(super) struct Groups(Vec<Members>);

/// Schedds that an account chose.
#[derive(Debug)]
pub(super) enum Chosen<'a> {
    /// A schedd of this group.
    Listed(&'a str, &'a Schedd),
    /// Those of a search's schedds that have these names.
    Search(&'a Search, NameFilter),
}

/// A name or a glob as typed, perhaps behind a `!`.
struct Item<'a> {
    glob: Glob,
    /// The text behind the `!`, if there is one.
    name: &'a str,
    takes_away: bool,
}

impl Groups {
    pub(super) fn new(sections: &[(Located<String>, GroupSection)], faults: &mut Faults) -> Self {
        let mut list = Vec::new();
        // The group that first named a schedd, so that each name means one target.
        let mut known: BTreeMap<String, (Target, String)> = BTreeMap::new();
        for (name, section) in sections {
            if Glob::is_glob(&name.value) || name.value.starts_with('!') {
                let what = "a group's name has none of `*?[` and begins with no `!`";
                faults.add(name.place, what);
            }
            judge_length(name, GROUP_LIMIT, faults);
            let search = search(name, section);
            let mut listed = Vec::new();
            if search.is_none() {
                for (place, schedd) in schedds(name, section, faults) {
                    if is_new(place, &schedd, &known, faults) {
                        let first = (schedd.target.clone(), name.value.clone());
                        known.insert(schedd.name.clone(), first);
                        listed.push(schedd);
                    }
                }
            }
            list.push(Members {
                group: name.value.clone(),
                listed,
                search,
            });
        }
        Self(list)
    }

    /// The schedds that are meant by names and globs; a fault for each that fits nothing.
    pub(super) fn choose(
        &self,
        typed: &Given<Several<String>>,
        faults: &mut Faults,
    ) -> Vec<Chosen<'_>> {
        let mut items: Vec<Item<'_>> = Vec::new();
        for typed in typed.items() {
            match Item::read(&typed.value) {
                Ok(item) => {
                    self.judge(typed, item.name, faults);
                    items.push(item);
                }
                Err(why) => faults.add(typed.place, why),
            }
        }
        if let Some(first) = typed.items().first()
            && !items.is_empty()
            && items.iter().all(|item| item.takes_away)
        {
            let what =
                "there is nothing to take it away from, write for example [\"*\", \"!NAME\"]";
            faults.add(first.place, what);
        }
        let is_meant = |name: &str, takes_away: bool| {
            let mut items = items.iter().filter(|item| item.takes_away == takes_away);
            items.any(|item| item.glob.matches(name))
        };
        // Globs over the names of schedds that are found.
        let found = |takes_away: bool| {
            let items = items
                .iter()
                .filter(move |item| item.takes_away == takes_away);
            let items = items.filter(|item| self.may_be_found(item.name));
            items.map(|item| item.glob.clone()).collect::<Vec<Glob>>()
        };
        let mut chosen = Vec::new();
        for members in &self.0 {
            if is_meant(&members.group, true) {
                continue;
            }
            let is_whole = is_meant(&members.group, false);
            let schedds = members.listed.iter().filter(|schedd| {
                (is_whole || is_meant(&schedd.name, false)) && !is_meant(&schedd.name, true)
            });
            chosen.extend(schedds.map(|schedd| Chosen::Listed(&members.group, schedd)));
            if let Some(search) = &members.search {
                let any = if is_whole {
                    vec![Glob::all()]
                } else {
                    found(false)
                };
                if !any.is_empty() {
                    let except = found(true);
                    chosen.push(Chosen::Search(search, NameFilter { any, except }));
                }
            }
        }
        chosen
    }

    /// True when the values for `glob` hold at a schedd that is listed.
    pub(super) fn matches(&self, glob: &Glob, schedd: &Schedd) -> bool {
        let in_group = |members: &Members| {
            let mut listed = members.listed.iter();
            glob.matches(&members.group) && listed.any(|other| other.name == schedd.name)
        };
        glob.matches(&schedd.name) || self.0.iter().any(in_group)
    }

    /// A name or glob that can mean no schedd is a fault.
    pub(super) fn judge(&self, typed: &Located<String>, name: &str, faults: &mut Faults) {
        let groups = self.0.iter().map(|members| members.group.as_str());
        let listed = self.0.iter().flat_map(|members| &members.listed);
        let all = groups
            .clone()
            .chain(listed.map(|schedd| schedd.name.as_str()));
        let matches = |glob: Glob| all.clone().any(|name| glob.matches(name));
        if self.may_be_found(name) || glob(name).is_ok_and(matches) {
            return;
        }
        let what = if self.0.is_empty() {
            "define it under `schedds`".to_owned()
        } else if Glob::is_glob(name) {
            format!("groups are {}", groups.collect::<Vec<&str>>().join(", "))
        } else {
            // Of names there are few groups and many schedds.
            nearest(name, all).map_or_else(|| hint(name, groups), |near| hint(name, [near]))
        };
        faults.add(
            typed.place,
            format!("there is no group of schedds and no schedd {name:?}, {what}"),
        );
    }

    /// True when a search could find a schedd that is meant by this; a word without any dot is the name
    /// of a group.
    fn may_be_found(&self, name: &str) -> bool {
        let is_group = self.0.iter().any(|members| members.group == name);
        let has_search = self.0.iter().any(|members| members.search.is_some());
        has_search && !is_group && (Glob::is_glob(name) || name.contains(['.', '@']))
    }
}

impl<'a> Item<'a> {
    fn read(typed: &'a str) -> Result<Self, String> {
        let name = typed.strip_prefix('!');
        let takes_away = name.is_some();
        let name = name.unwrap_or(typed);
        Ok(Self {
            glob: glob(name)?,
            name,
            takes_away,
        })
    }
}

/// A name as typed: a glob, or exactly this. Addresses of credds have a `?` and are no globs.
pub(super) fn glob(name: &str) -> Result<Glob, String> {
    if Glob::is_glob(name) && !name.starts_with('<') {
        Glob::parse(name)
    } else {
        Ok(Glob::literal(name))
    }
}

/// True when a schedd may be taken; a fault when it is another one under a known name, or the same
/// under another.
fn is_new(
    place: Place,
    schedd: &Schedd,
    known: &BTreeMap<String, (Target, String)>,
    faults: &mut Faults,
) -> bool {
    let Schedd { name, target } = schedd;
    if let Some((other, first)) = known.get(name)
        && other != target
    {
        let what = format!(
            "schedd {name:?} is another one in group {first:?}, use one name for one schedd"
        );
        faults.add(place, what);
        return false;
    }
    if let Target::Directory(path) = target
        && let Some((_, first)) = known.values().find(|(other, _)| other == target)
    {
        let path = path.display();
        let what = format!("group {first:?} has the directory {path} already, use that group");
        faults.add(place, what);
    }
    true
}

/// The search of a group that is found through a collector.
fn search(name: &Located<String>, section: &GroupSection) -> Option<Search> {
    let is_listed = !section.directory.is_missing() || !section.credds.is_missing();
    let is_search = !section.collector.is_missing() || !section.constraint.is_missing();
    (is_search && !is_listed).then(|| Search {
        group: name.value.clone(),
        collector: section.collector.get().cloned(),
        constraint: section.constraint.get().map(|text| text.0.clone()),
        authentication: authentication(section),
        templates: Vec::new(),
    })
}

fn authentication(section: &GroupSection) -> Authentication {
    Authentication {
        method: section.authenticate.get().copied().unwrap_or_default(),
        domain: section.superuser_for.get().cloned(),
    }
}

/// The schedds of a group that are typed, each with the place of what names it.
fn schedds(
    name: &Located<String>,
    section: &GroupSection,
    faults: &mut Faults,
) -> Vec<(Place, Schedd)> {
    let credds = section.credds.items();
    match (section.directory.is_missing(), section.credds.is_missing()) {
        (false, true) => directory(name, section, faults).into_iter().collect(),
        (true, false) => {
            if let Some(place) = section.constraint.place() {
                let what = "it is for schedds found through a collector, remove it or `credds`";
                faults.add(place, what);
            }
            if section.credds.is_empty() {
                faults.add(name.place, "`credds` names no host, name at least one");
            }
            let credds = credds.iter().map(|host| credd(host, section, faults));
            credds.collect()
        }
        (false, false) => {
            let place = credds.first().map_or(name.place, |credd| credd.place);
            let what = "a group has either `directory` or `credds`, make two groups of it";
            faults.add(place, what);
            Vec::new()
        }
        (true, true) => {
            let what = "a group needs `directory: PATH`, `credds: [HOST, ..]`, or `collector` and \
                        `constraint` to be found by";
            faults.add(name.place, what);
            Vec::new()
        }
    }
}

fn directory(
    name: &Located<String>,
    section: &GroupSection,
    faults: &mut Faults,
) -> Option<(Place, Schedd)> {
    let others = [
        section.collector.place(),
        section.constraint.place(),
        section.authenticate.place(),
        section.superuser_for.place(),
    ];
    for other in others.into_iter().flatten() {
        faults.add(other, "a directory has none, remove it");
    }
    let directory = section.directory.located()?;
    let target = Target::Directory(directory.value.0.clone());
    let name = name.value.clone();
    Some((directory.place, Schedd { name, target }))
}

fn credd(host: &Located<String>, section: &GroupSection, faults: &mut Faults) -> (Place, Schedd) {
    if host.value.contains(char::is_whitespace) {
        faults.add(host.place, "a host name must stand here");
    }
    // An address may be longer.
    if !host.value.starts_with('<') {
        judge_length(host, HOST_LIMIT, faults);
    }
    let target = Target::Credd {
        host: host.value.clone(),
        collector: section.collector.get().cloned(),
        authentication: authentication(section),
    };
    let name = host.value.clone();
    (host.place, Schedd { name, target })
}
