//! Ads of schedds and credds, as `condor_status -json` prints them.

use serde::Deserialize;

/// Ad of a schedd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ScheddAd {
    /// Its name: the host's, or `NAME@HOST` where a host has several.
    #[serde(rename = "Name")]
    pub name: String,
    /// Its host.
    #[serde(rename = "Machine", default)]
    pub machine: String,
    /// Address of its credd, in angle brackets. Few versions give it here.
    #[serde(rename = "CredDIpAddr", default)]
    pub credd: Option<String>,
    /// That address is the one of its host's only credd, for its ad gives none.
    #[serde(skip)]
    pub is_of_host: bool,
    /// Number of its jobs, of anybody.
    #[serde(rename = "TotalJobAds", default)]
    pub jobs: u64,
    /// It satisfies the constraint; else it only is still there.
    #[serde(skip, default = "yes")]
    pub matches: bool,
}

/// Ad of a credd.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CreddAd {
    #[serde(rename = "Name", default)]
    pub(crate) name: String,
    #[serde(rename = "Machine")]
    pub(crate) machine: String,
    /// Its address, in angle brackets.
    #[serde(rename = "MyAddress", default)]
    pub(crate) address: Option<String>,
}

fn yes() -> bool {
    true
}

/// The credd that HTCondor's tools would find by `name`: it has that name, or it is the only one on that host.
pub(crate) fn find_credd<'a>(credds: &'a [CreddAd], name: &str) -> Option<&'a CreddAd> {
    credd_named(credds, name).or_else(|| credd_of_host(credds, name))
}

pub(crate) fn credd_named<'a>(credds: &'a [CreddAd], name: &str) -> Option<&'a CreddAd> {
    only(credds, |credd| credd.name.eq_ignore_ascii_case(name))
}

pub(crate) fn credd_of_host<'a>(credds: &'a [CreddAd], host: &str) -> Option<&'a CreddAd> {
    only(credds, |credd| credd.machine.eq_ignore_ascii_case(host))
}

/// Gives schedds that do not say it the address of their host's credd, where that has one.
#[must_use]
pub fn with_credds(mut schedds: Vec<ScheddAd>, credds: &[CreddAd]) -> Vec<ScheddAd> {
    for ad in schedds.iter_mut().filter(|ad| ad.credd.is_none()) {
        let credd = credd_of_host(credds, &ad.machine);
        ad.credd = credd.and_then(|credd| credd.address.clone());
        ad.is_of_host = ad.credd.is_some();
    }
    schedds
}

fn only(credds: &[CreddAd], fits: impl Fn(&CreddAd) -> bool) -> Option<&CreddAd> {
    let mut fitting = credds.iter().filter(|credd| fits(credd));
    let credd = fitting.next()?;
    fitting.next().is_none().then_some(credd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: serde::de::DeserializeOwned>(json: &str) -> Vec<T> {
        serde_json::from_str(json).unwrap()
    }

    /// As HTCondor 25.14.1 prints it.
    const SCHEDDS: &str = r#"[
{
  "Machine": "ap.test",
  "Name": "ap.test",
  "TotalJobAds": 3
}
,
{
  "CredDIpAddr": "<127.83.0.31:9618?sock=own>",
  "Machine": "ap2.test",
  "Name": "two@ap2.test"
}
]
"#;
    const CREDDS: &str = r#"[
{ "Machine": "AP.test", "MyAddress": "<127.83.0.30:9618?sock=credd>", "Name": "ap.test" }
,
{ "Machine": "ap2.test", "MyAddress": "<127.83.0.31:9618?sock=host>", "Name": "ap2.test" }
]"#;

    #[test]
    fn a_schedds_own_credd_comes_before_its_hosts() {
        let all = with_credds(read(SCHEDDS), &read::<CreddAd>(CREDDS));
        let found: Vec<_> = all
            .iter()
            .map(|ad| (ad.name.as_str(), ad.credd.as_deref().unwrap(), ad.jobs))
            .collect();
        assert_eq!(
            found,
            [
                ("ap.test", "<127.83.0.30:9618?sock=credd>", 3),
                ("two@ap2.test", "<127.83.0.31:9618?sock=own>", 0)
            ]
        );
        assert!(all.iter().all(|ad| ad.matches));
        assert!(all[0].is_of_host && !all[1].is_of_host);
    }

    #[test]
    fn a_host_with_two_credds_does_not_tell_which_is_whose() {
        let two = CREDDS.replace("ap2.test", "ap.test");
        let all = with_credds(read(SCHEDDS), &read::<CreddAd>(&two));
        assert_eq!(all[0].credd, None);
    }
}
