//! Way to a group's credds: `transport` with all that belongs to it.
//!
//! Always true: a group without `transport` gets the way that can work for it. Whatever only the other way uses is a
//! fault.

use htcondor_cedar::Address;
use htvault::TlsSettings;

use crate::config::faults::{Faults, Located};
use crate::config::search::collectors;
use crate::config::sections::{GroupSection, WayName};
use crate::model::delivery::{Method, Way};

/// The way of a group; `authorities` are those of Vault.
pub(super) fn of(section: &GroupSection, authorities: &TlsSettings, faults: &mut Faults) -> Way {
    let own = super::authorities(&section.ca_file, &section.ca_dir);
    let is_own = own != TlsSettings::default();
    let method = section.authenticate.get().copied().unwrap_or_default();
    let can_be_cedar = method == Method::Scitokens && !section.collector.is_missing();
    let is_cedar = match section.transport.get() {
        Some(name) => *name == WayName::Cedar,
        None => can_be_cedar,
    };
    if !is_cedar {
        let places = [section.ca_file.place(), section.ca_dir.place()];
        for place in places.into_iter().flatten() {
            let message = "it is for `transport: cedar`; HTCondor's tools take AUTH_SSL_CLIENT_CAFILE and \
                           AUTH_SSL_CLIENT_CADIR of their own configuration, remove it";
            faults.add(place, message);
        }
        return Way::Condor;
    }
    if let Some(place) = section.transport.place() {
        if method != Method::Scitokens {
            let message = "`cedar` opens credds by `authenticate: scitokens` only, remove `authenticate` or write \
                           `condor`";
            faults.add(place, message);
        }
        let is_address = |host: &Located<String>| host.value.starts_with('<');
        let has_addresses = section.credds.items().iter().all(is_address);
        if section.collector.is_missing() && (section.credds.is_empty() || !has_addresses) {
            let message = "`cedar` needs the `collector` that knows these schedds, write for example collector: \
                           cm.example.org:9618";
            faults.add(place, message);
        }
    }
    if let Some(collector) = section.collector.located()
        && let Err(error) = collectors(&collector.value)
    {
        let message = format!("{}, write for example cm.example.org:9618", error.message());
        faults.add(collector.place, message);
    }
    for host in section.credds.items() {
        if host.value.starts_with('<')
            && let Err(error) = host.value.parse::<Address>()
        {
            let message = format!(
                "{}, correct it or write `transport: condor`",
                error.message()
            );
            faults.add(host.place, message);
        }
    }
    Way::Cedar {
        authorities: if is_own { own } else { authorities.clone() },
    }
}
