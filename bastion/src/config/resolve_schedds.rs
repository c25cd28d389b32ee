//! Groups of schedds as they are meant, and which of them an account chooses.

use std::collections::BTreeMap;

use super::faults::{Faults, hint, nearest};
use super::keys::METHODS;
use super::names::{Glob, Names};
use super::raw::{self, Named};
use super::resolve::absolute;
use super::resolve_account::judge_length;
use super::search::Search;
use super::tree::Located;
use crate::delivery::{Method, Opening, Target};

/// Limit for the length of a host's name, that of DNS.
const HOST_LIMIT: usize = 253;
/// Limit for the length of a group's name, which stands for that of a schedd.
const GROUP_LIMIT: usize = 255;

/// A target and the name that people know it by.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) target: Target,
}

/// A group of schedds.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: Located<String>,
    members: Members,
}

#[derive(Debug)]
enum Members {
    Listed(Vec<Place>),
    /// As found through a collector; nothing is wanted there yet.
    Found(Search),
}

/// All groups, in the order in which they were typed.
#[derive(Debug)]
pub(crate) struct Groups(Vec<Group>);

/// What was chosen.
#[derive(Debug)]
pub(crate) enum Chosen<'a> {
    Place(&'a Group, &'a Place),
    /// Those of a search's schedds that have these names.
    Search(&'a Group, &'a Search, Names),
}

/// A name or a glob as typed, perhaps behind a `!`.
struct Item<'a> {
    typed: &'a Located<String>,
    glob: Glob,
    /// What stands behind the `!`, if there is one.
    name: &'a str,
    takes_away: bool,
}

impl Groups {
    pub(crate) fn new(groups: &[Named<raw::Group>], faults: &mut Faults) -> Self {
        let mut list = Vec::new();
        // Which group first named a target, or a name, so that each name means one target.
        let mut known: BTreeMap<String, (Target, String)> = BTreeMap::new();
        for group in groups {
            let name = &group.name;
            if Glob::is_glob(&name.value) || name.value.starts_with('!') {
                name.fault(
                    faults,
                    "a group's name has none of `*?[` and begins with no `!`",
                );
            }
            judge_length(name, GROUP_LIMIT, faults);
            let members = if is_search(&group.value) {
                Members::Found(search(group, faults))
            } else {
                let mut places = Vec::new();
                for (at, place) in listed(group, faults) {
                    if is_known(at, &place, &known, faults) {
                        known.insert(
                            place.name.clone(),
                            (place.target.clone(), name.value.clone()),
                        );
                        places.push(place);
                    }
                }
                Members::Listed(places)
            };
            list.push(Group {
                name: name.clone(),
                members,
            });
        }
        Self(list)
    }

    /// The schedds that are meant by names and globs; a fault for each that fits nothing.
    pub(crate) fn choose(&self, typed: &[Located<String>], faults: &mut Faults) -> Vec<Chosen<'_>> {
        let items: Vec<Item<'_>> = typed
            .iter()
            .filter_map(|typed| Item::read(typed, faults))
            .collect();
        for item in &items {
            self.judge(item.typed, item.name, faults);
        }
        if let Some(first) = items.first()
            && items.iter().all(|item| item.takes_away)
        {
            first.typed.fault(
                faults,
                "there is nothing to take it away from, write for example [\"*\", \"!NAME\"]",
            );
        }
        let meant = |name: &str, takes_away: bool| {
            let mut items = items.iter().filter(|item| item.takes_away == takes_away);
            items.any(|item| item.glob.fits(name))
        };
        let mut chosen = Vec::new();
        for group in &self.0 {
            if meant(&group.name.value, true) {
                continue;
            }
            let whole = meant(&group.name.value, false);
            match &group.members {
                Members::Listed(places) => {
                    let places = places.iter().filter(|place| {
                        (whole || meant(&place.name, false)) && !meant(&place.name, true)
                    });
                    chosen.extend(places.map(|place| Chosen::Place(group, place)));
                }
                Members::Found(search) => {
                    let globs = |takes_away: bool| {
                        let items = items.iter().filter(move |i| i.takes_away == takes_away);
                        items
                            .filter(|item| self.may_be_found(item.name))
                            .map(|item| item.glob.clone())
                            .collect()
                    };
                    let names = Names {
                        any: if whole {
                            vec![Glob::all()]
                        } else {
                            globs(false)
                        },
                        except: globs(true),
                    };
                    if !names.any.is_empty() {
                        chosen.push(Chosen::Search(group, search, names));
                    }
                }
            }
        }
        chosen
    }

    /// Whether what is different for `typed` holds at a schedd that is listed.
    pub(crate) fn fits(&self, glob: &Glob, place: &Place) -> bool {
        glob.fits(&place.name)
            || self
                .0
                .iter()
                .any(|group| glob.fits(&group.name.value) && group.names(&place.name))
    }

    /// A name or glob that can mean no schedd is a fault.
    pub(crate) fn judge(&self, typed: &Located<String>, name: &str, faults: &mut Faults) {
        let fits = |glob: &Glob| {
            self.0.iter().any(|group| {
                let mut places = group.places().iter();
                glob.fits(&group.name.value) || places.any(|place| glob.fits(&place.name))
            })
        };
        if self.may_be_found(name) || glob(name).is_ok_and(|glob| fits(&glob)) {
            return;
        }
        let what = if self.0.is_empty() {
            "define it under `schedds`".to_owned()
        } else if Glob::is_glob(name) {
            let groups: Vec<&str> = self.0.iter().map(|g| g.name.value.as_str()).collect();
            format!("groups are {}", groups.join(", "))
        } else {
            let groups = self.0.iter().map(|group| group.name.value.as_str());
            let places = self.0.iter().flat_map(Group::places);
            let places = places.map(|place| place.name.as_str());
            // Of names there are few groups and many schedds.
            let near = nearest(name, groups.clone().chain(places));
            near.map_or_else(|| hint(name, groups), |near| hint(name, [near]))
        };
        typed.fault(
            faults,
            format!("there is no group of schedds and no schedd {name:?}, {what}"),
        );
    }

    /// Whether a search could find a schedd that is meant by this; a word without any dot is the
    /// name of a group.
    fn may_be_found(&self, name: &str) -> bool {
        let is_group = self.0.iter().any(|group| group.name.value == name);
        let searches = self
            .0
            .iter()
            .any(|group| matches!(group.members, Members::Found(_)));
        searches && !is_group && (Glob::is_glob(name) || name.contains(['.', '@']))
    }
}

impl Group {
    fn places(&self) -> &[Place] {
        match &self.members {
            Members::Listed(places) => places,
            Members::Found(_) => &[],
        }
    }

    fn names(&self, schedd: &str) -> bool {
        self.places().iter().any(|place| place.name == schedd)
    }
}

impl<'a> Item<'a> {
    fn read(typed: &'a Located<String>, faults: &mut Faults) -> Option<Self> {
        let (name, takes_away) = match typed.value.strip_prefix('!') {
            Some(name) => (name, true),
            None => (typed.value.as_str(), false),
        };
        let glob = glob(name).map_err(|why| typed.fault(faults, why)).ok()?;
        Some(Self {
            typed,
            glob,
            name,
            takes_away,
        })
    }
}

/// A name as typed: a glob, or exactly this. Addresses of credds have a `?` and are no globs.
pub(crate) fn glob(name: &str) -> Result<Glob, String> {
    if Glob::is_glob(name) && !name.starts_with('<') {
        Glob::parse(name)
    } else {
        Ok(Glob::exactly(name))
    }
}

/// Whether it may be taken; a fault when it is another one under a known name, or the same under
/// another.
fn is_known(
    at: &Located<String>,
    place: &Place,
    known: &BTreeMap<String, (Target, String)>,
    faults: &mut Faults,
) -> bool {
    if let Some((target, first)) = known.get(&place.name)
        && *target != place.target
    {
        let name = &place.name;
        at.fault(
            faults,
            format!(
                "schedd {name:?} is another one in group {first:?}, use one name for one schedd"
            ),
        );
        return false;
    }
    if let Target::Directory(path) = &place.target
        && let Some((_, (_, first))) = known.iter().find(|(_, (t, _))| *t == place.target)
    {
        let path = path.display();
        at.fault(
            faults,
            format!("group {first:?} has the directory {path} already, use that group"),
        );
    }
    true
}

fn is_search(group: &raw::Group) -> bool {
    let found = group.collector.is_some() || group.constraint.is_some();
    group.directory.is_none() && group.credds.is_none() && found
}

fn search(group: &Named<raw::Group>, faults: &mut Faults) -> Search {
    let text = |text: &Option<Located<String>>| text.as_ref().map(|text| text.value.clone());
    Search {
        group: group.name.value.clone(),
        collector: text(&group.value.collector),
        constraint: text(&group.value.constraint),
        opening: opening(&group.value, faults),
        wanted: Vec::new(),
    }
}

fn opening(group: &raw::Group, faults: &mut Faults) -> Opening {
    let all = [
        Method::Scitokens,
        Method::Idtokens,
        Method::Ssl,
        Method::Kerberos,
        Method::Fs,
    ];
    let method = group.authenticate.as_ref().and_then(|text| {
        let typed = text.value.to_lowercase();
        let place = METHODS.iter().position(|word| *word == typed);
        let method = place.and_then(|place| all.get(place)).copied();
        if method.is_none() {
            let hint = hint(&typed, METHODS.iter().copied());
            text.fault(
                faults,
                format!("there is no such way to authenticate, {hint}"),
            );
        }
        method
    });
    Opening {
        method: method.unwrap_or_default(),
        domain: group.superuser_for.as_ref().map(|text| text.value.clone()),
    }
}

/// The places of a group that are typed, with what named each.
fn listed<'a>(
    group: &'a Named<raw::Group>,
    faults: &mut Faults,
) -> Vec<(&'a Located<String>, Place)> {
    let raw = &group.value;
    let name = &group.name;
    match (&raw.directory, &raw.credds) {
        (Some(directory), None) => {
            let others = [
                &raw.collector,
                &raw.constraint,
                &raw.authenticate,
                &raw.superuser_for,
            ];
            for other in others.into_iter().flatten() {
                other.fault(faults, "a directory has none, remove it");
            }
            let place = Place {
                name: name.value.clone(),
                target: Target::Directory(absolute(directory, faults)),
            };
            vec![(directory, place)]
        }
        (None, Some(credds)) => {
            if let Some(constraint) = &raw.constraint {
                constraint.fault(
                    faults,
                    "it is for schedds found through a collector, remove it or `credds`",
                );
            }
            if credds.is_empty() {
                name.fault(faults, "`credds` names no host, name at least one");
            }
            let collector = raw.collector.as_ref().map(|text| text.value.clone());
            let opening = opening(raw, faults);
            let mut places = Vec::new();
            for credd in credds {
                if credd.value.contains(char::is_whitespace) {
                    credd.fault(faults, "a host name must stand here");
                }
                // An address may be longer.
                if !credd.value.starts_with('<') {
                    judge_length(credd, HOST_LIMIT, faults);
                }
                let target = Target::Credd {
                    host: credd.value.clone(),
                    collector: collector.clone(),
                    opening: opening.clone(),
                };
                let name = credd.value.clone();
                places.push((credd, Place { name, target }));
            }
            places
        }
        (Some(_), Some(credds)) => {
            let at = credds.first().unwrap_or(name);
            at.fault(
                faults,
                "a group has either `directory` or `credds`, make two groups of it",
            );
            Vec::new()
        }
        (None, None) => {
            name.fault(
                faults,
                "a group needs `directory: PATH`, `credds: [HOST, ..]`, or `collector` and \
                 `constraint` to be found by",
            );
            Vec::new()
        }
    }
}
