//! Deliveries for tests.

use std::sync::Arc;
use std::time::Duration;

use htvault::CredentialUrl;

use crate::config::{Config, Cron, DeliveryTemplate, Search};
use crate::model::delivery::{
    Authentication, CreddTarget, Credential, Delivery, DeliveryId, Grant, Identity, Method, Target,
    Way,
};

/// Server of every credential here.
pub(crate) const SERVER: &str = "https://vault.test:8200";

pub(crate) fn credential(account: &str, service: &str) -> Credential {
    let server = SERVER.parse().unwrap();
    let (issuer, role) = service.split_once('_').unwrap_or((service, "default"));
    let url = CredentialUrl::creds(&server, issuer, account, role).unwrap();
    // Each test has paths of its own: clocks of tests differ, and all share the threads for keytabs.
    let test = std::thread::current().id();
    Credential {
        identity: Arc::new(Identity {
            account: account.to_owned(),
            principal: format!("{account}@TEST"),
            keytab: format!("/{test:?}/{account}.keytab").into(),
        }),
        service: service.to_owned(),
        issuer: issuer.to_owned(),
        role: role.to_owned(),
        credkey: account.to_owned(),
        scopes: Vec::new(),
        audience: None,
        full_url: url.clone(),
        url,
        grant: Grant::default(),
    }
}

/// `cms` of an account at `ap1`.
pub(crate) fn id(account: &str) -> DeliveryId {
    DeliveryId {
        account: account.to_owned(),
        service: "cms".to_owned(),
        schedd: "ap1".to_owned(),
    }
}

/// A listed credd, opened as it is without a word.
pub(crate) fn credd(host: &str) -> Target {
    credd_by(host, Method::default(), None)
}

/// A listed credd that is opened so; a super-user names the accounts' domain.
pub(crate) fn credd_by(host: &str, method: Method, domain: Option<&str>) -> Target {
    Target::Credd(CreddTarget {
        host: host.to_owned(),
        collector: None,
        way: Way::Condor,
        authentication: Authentication {
            method,
            domain: domain.map(str::to_owned),
        },
    })
}

pub(crate) fn delivery(account: &str, service: &str, schedd: &str, target: Target) -> Delivery {
    let credential = Arc::new(credential(account, service));
    Delivery {
        id: DeliveryId {
            account: account.to_owned(),
            service: service.to_owned(),
            schedd: schedd.to_owned(),
        },
        authorize: Arc::clone(&credential),
        credential,
        target,
        lifetime: Duration::from_hours(7 * 24),
        renew_below: Duration::from_hours(3 * 24),
    }
}

/// `cmsprod`'s `cms_crab` at `here`.
pub(crate) fn delivery_to(target: Target) -> Delivery {
    delivery("cmsprod", "cms_crab", "here", target)
}

/// Search of the group `crab`.
pub(crate) fn search(templates: Vec<DeliveryTemplate>) -> Search {
    Search {
        group: "crab".to_owned(),
        collector: None,
        constraint: None,
        way: Way::Condor,
        authentication: Authentication::default(),
        templates,
    }
}

/// A configuration of these deliveries, looked at every ten minutes.
pub(crate) fn config(deliveries: Vec<Delivery>) -> Config {
    Config {
        vault: htvault::Settings::new(SERVER.parse().unwrap()),
        kerberos_service: "host".to_owned(),
        check: Cron::parse("*/10 * * * *").unwrap(),
        spread: Duration::from_mins(5),
        deliveries: deliveries.into_iter().map(Arc::new).collect(),
        searches: Vec::new(),
        listen: None,
        control: crate::config::DEFAULT_CONTROL.into(),
        state: crate::config::DEFAULT_STATE.into(),
        warnings: Vec::new(),
    }
}
