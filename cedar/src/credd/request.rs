//! Requests to a credd, and the times in its answer.

use std::collections::BTreeMap;

use crate::classad::{Ad, Value};
use crate::error::{Error, Step};
use crate::packet::{Fault, LONGEST_PACKET};
use crate::wire::{Encoder, Form};

/// Longest credential, in bytes.
const LONGEST_SECRET: usize = 64 << 10;
/// Longest request, in bytes: one packet, with room for the domain that the credd gives the bearer.
const LONGEST_REQUEST: usize = LONGEST_PACKET / 2;

/// Names of an OAuth credential.
///
/// ```
/// use htcondor_cedar::Credential;
///
/// let credential = Credential {
///     account: Some("cmsprod".to_owned()),
///     scopes: Some("storage.read:/".to_owned()),
///     ..Credential::new("cms_crab")
/// };
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Credential {
    /// Account that it is for: a name, or `name@domain`. Whom the credd takes the token's bearer for when
    /// `None`. For another account than the bearer's the credd refuses, unless the bearer is in its
    /// `CRED_SUPER_USERS`.
    pub account: Option<String>,
    /// Service, for example `cms_crab`.
    pub service: String,
    /// Second part of the name; the credd joins both with `_`.
    pub handle: Option<String>,
    /// Scopes of the access tokens made from it, as jobs ask for them.
    pub scopes: Option<String>,
    /// Audience of the access tokens made from it, as jobs ask for it.
    pub audience: Option<String>,
}

impl Credential {
    /// The bearer's own credential for a service.
    #[must_use]
    pub fn new(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            ..Self::default()
        }
    }

    /// Its name in the credd's directory, without ending.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.handle {
            Some(handle) => format!("{}_{handle}", self.service),
            None => self.service.clone(),
        }
    }

    fn ad(&self) -> Ad {
        let mut ad = Ad::new();
        ad.set("Service", self.service.as_str());
        for (name, value) in [
            ("Handle", &self.handle),
            ("Scopes", &self.scopes),
            ("Audience", &self.audience),
        ] {
            if let Some(value) = value {
                ad.set(name, value.as_str());
            }
        }
        ad.set("NeedRefresh", true);
        ad
    }
}

/// Times of the files of a stored credential, in seconds of Unix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Time at which the credential was stored.
    pub stored: Option<i64>,
    /// Time at which the access token for jobs was made, from it or from one before it.
    pub used: Option<i64>,
}

impl Times {
    pub(super) fn of(ad: &Ad, credential: &Credential) -> Self {
        let name = credential.name();
        Self {
            stored: ad.integer(&format!("Top{name}Time")),
            used: ad.integer(&name),
        }
    }

    /// Of all credentials, in the answer to a query without a service: `<name>.top` and `<name>.use` are
    /// its attributes (23.9.6 and 25.14.1).
    pub(super) fn all(ad: &Ad) -> BTreeMap<String, Self> {
        let mut all = BTreeMap::<String, Self>::new();
        for (attribute, value) in ad.iter() {
            let (Value::Integer(time), Some((name, ending))) = (value, attribute.rsplit_once('.'))
            else {
                continue;
            };
            match ending {
                "top" => all.entry(name.to_owned()).or_default().stored = Some(*time),
                "use" => all.entry(name.to_owned()).or_default().used = Some(*time),
                _ => {}
            }
        }
        all
    }
}

/// Task of a credd, with HTCondor's numbers for OAuth credentials.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Add,
    Delete,
    Query,
    /// A query without a service.
    List,
}

/// A request.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    credential: &'a Credential,
    mode: Mode,
    secret: &'a [u8],
}

impl<'a> Request<'a> {
    pub(super) fn new(credential: &'a Credential, mode: Mode, secret: &'a [u8]) -> Self {
        Self {
            credential,
            mode,
            secret,
        }
    }

    /// Refuses what no credd takes, before a connection is made.
    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |words: &str| Err(Error::bad_value(words));
        let is_name = |text: &str| {
            let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            !text.is_empty() && text.chars().all(is_letter) && !text.starts_with('.')
        };
        let Credential {
            account,
            service,
            handle,
            ..
        } = self.credential;
        let named = matches!(self.mode, Mode::List) || is_name(service);
        if !named || !handle.as_deref().is_none_or(is_name) {
            return refuse("a service or handle is letters, digits, and _ - .");
        }
        if !account
            .as_deref()
            .is_none_or(|account| !account.is_empty() && !account.starts_with('@'))
        {
            return refuse("an account without a name");
        }
        let add = matches!(self.mode, Mode::Add);
        if add && (self.secret.is_empty() || self.secret.len() > LONGEST_SECRET) {
            return refuse("a credential is empty or longer than 64 KiB");
        }
        let message = self.message(Form::Encrypted, "");
        let message = message.map_err(|fault| Error::wire(Step::Prepare, fault))?;
        if message.body().len() > LONGEST_REQUEST {
            return refuse("an account, a name, scopes or an audience are too long");
        }
        Ok(())
    }

    /// The message. `bearer` is whom the credd takes us for.
    pub(super) fn message(&self, form: Form, bearer: &str) -> Result<Encoder, Fault> {
        let domain = bearer.rsplit_once('@').map_or("", |(_, domain)| domain);
        let user = match self.credential.account.as_deref() {
            None => String::new(),
            Some(account) if account.contains('@') => account.to_owned(),
            // The credd wants a domain, but does not compare it.
            Some(account) => format!("{account}@{domain}"),
        };
        // Made first, so that there is room for all.
        let mut ad = Encoder::new(form);
        match self.mode {
            Mode::List => Ad::new(),
            _ => self.credential.ad(),
        }
        .encode(&mut ad)?;
        let room = [user.len(), self.secret.len(), ad.body().len(), 64];
        let mut to = Encoder::with_room(form, room.into_iter().sum());
        to.string(&user)?;
        // In the place of a password's name.
        to.string("")?;
        to.integer(match self.mode {
            Mode::Add => 0x28,
            Mode::Delete => 0x29,
            Mode::Query | Mode::List => 0x2a,
        });
        to.length(self.secret.len());
        to.raw(self.secret);
        to.raw(ad.body());
        Ok(to)
    }
}
