//! What a collector says of schedds and credds: `condor_status -json`.

use serde::Deserialize;

/// What a collector says of a schedd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Ad {
    /// Its name: the host's, or `NAME@HOST` where a host has several.
    #[serde(rename = "Name")]
    pub name: String,
    /// Its host.
    #[serde(rename = "Machine", default)]
    pub machine: String,
    /// Where its credd is: an address in angle brackets. Few versions tell it here.
    #[serde(rename = "CredDIpAddr", default)]
    pub credd: Option<String>,
    /// How many jobs it has, of anybody.
    #[serde(rename = "TotalJobAds", default)]
    pub jobs: u64,
    /// It is one of those that are asked for; else it only is still there.
    #[serde(skip, default = "yes")]
    pub matches: bool,
}

/// What a collector says of a credd.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CreddAd {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "Machine")]
    machine: String,
    #[serde(rename = "MyAddress")]
    address: String,
}

fn yes() -> bool {
    true
}

/// Ads of schedds. The tool prints nothing when there is none.
pub(crate) fn schedds(json: &str) -> Result<Vec<Ad>, serde_json::Error> {
    read(json)
}

/// Ads of credds.
pub(crate) fn credds(json: &str) -> Result<Vec<CreddAd>, serde_json::Error> {
    read(json)
}

fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<Vec<T>, serde_json::Error> {
    if json.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(json)
}

/// The address of the credd that HTCondor's tools would find by `name`: it has that name, or it is
/// the only one on that host.
pub(crate) fn address_of<'a>(credds: &'a [CreddAd], name: &str) -> Option<&'a str> {
    let only = |is_it: &dyn Fn(&CreddAd) -> bool| {
        let mut all = credds.iter().filter(|credd| is_it(credd));
        all.next().filter(|_| all.next().is_none())
    };
    let named = only(&|credd| credd.name.eq_ignore_ascii_case(name));
    let there = named.or_else(|| only(&|credd| credd.machine.eq_ignore_ascii_case(name)));
    there.map(|credd| credd.address.as_str())
}

/// Schedds that do not say where their credd is have the one of their host, where that has one.
#[must_use]
pub fn with_credds(mut schedds: Vec<Ad>, credds: &[CreddAd]) -> Vec<Ad> {
    for ad in schedds.iter_mut().filter(|ad| ad.credd.is_none()) {
        let mut here = credds
            .iter()
            .filter(|credd| credd.machine.eq_ignore_ascii_case(&ad.machine));
        if let (Some(credd), None) = (here.next(), here.next()) {
            ad.credd = Some(credd.address.clone());
        }
    }
    schedds
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let all = with_credds(schedds(SCHEDDS).unwrap(), &credds(CREDDS).unwrap());
        let told: Vec<_> = all
            .iter()
            .map(|ad| (ad.name.as_str(), ad.credd.as_deref().unwrap(), ad.jobs))
            .collect();
        assert_eq!(
            told,
            [
                ("ap.test", "<127.83.0.30:9618?sock=credd>", 3),
                ("two@ap2.test", "<127.83.0.31:9618?sock=own>", 0)
            ]
        );
        assert!(all.iter().all(|ad| ad.matches));
    }

    #[test]
    fn a_host_with_two_credds_does_not_tell_which_is_whose() {
        let two = CREDDS.replace("ap2.test", "ap.test");
        let all = with_credds(schedds(SCHEDDS).unwrap(), &credds(&two).unwrap());
        assert_eq!(all[0].credd, None);
    }

    #[test]
    fn no_schedd_is_printed_as_nothing() {
        assert!(schedds("\n").unwrap().is_empty());
        assert!(schedds("[{]").is_err());
    }
}
