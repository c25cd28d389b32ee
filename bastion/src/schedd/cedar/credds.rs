//! Clients of credds, kept for their sessions.
//!
//! Always true: a client serves one address, one name, one access token and one set of authorities; another one of these
//! makes another client. None is kept for longer than its session could be resumed, nor after an answer to another user
//! than is meant: the credd looks the user up at a full authentication only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use htcondor_cedar::{Address, Credd, Error, Tls};
use htvault::{AccessToken, Authorities};
use tokio::time::Instant;

use crate::system::locked::locked;
use crate::vault::sessions::CredentialKey;

const SESSION: Duration = Duration::from_mins(5);

#[derive(Default)]
pub(super) struct Credds(Mutex<HashMap<Key, Client>>);

/// A credd, and the credential whose access token opens it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) credential: CredentialKey,
    pub(super) collector: Option<String>,
    pub(super) host: String,
}

/// How a credd is opened now.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) address: Address,
    /// Name that its certificate must have.
    pub(super) name: String,
    pub(super) token: AccessToken,
    /// Time that the token still lives.
    pub(super) life: Duration,
    pub(super) authorities: Arc<Authorities>,
}

struct Client {
    credd: Arc<Credd>,
    opened: Opened,
    used: Instant,
}

impl Opened {
    /// Returns `true` for the same but for the time that has passed.
    fn is_same(&self, other: &Self) -> bool {
        self.address == other.address
            && self.name == other.name
            && self.token.expose() == other.token.expose()
            && Arc::ptr_eq(&self.authorities, &other.authorities)
    }
}

impl Credds {
    /// Carries `act` out with the client for a credd that is opened so. After an answer to another user than is meant,
    /// as `is_for_other` finds, that client is not used again, and where it may have had a session of before, `act` is
    /// carried out once more with a new one.
    pub(super) async fn with<T, F: Future<Output = Result<T, Error>>>(
        &self,
        key: &Key,
        opened: &Opened,
        act: impl Fn(Arc<Credd>) -> F,
        is_for_other: impl Fn(&Result<T, Error>) -> bool,
    ) -> Result<T, Error> {
        let (credd, is_new) = self.get(key.clone(), opened)?;
        let result = act(Arc::clone(&credd)).await;
        if !is_for_other(&result) {
            return result;
        }
        self.forget(key, &credd);
        if is_new {
            return result;
        }
        let (credd, _) = self.get(key.clone(), opened)?;
        let result = act(Arc::clone(&credd)).await;
        if is_for_other(&result) {
            self.forget(key, &credd);
        }
        result
    }

    /// Forgets a client, unless another one has taken its place.
    fn forget(&self, key: &Key, credd: &Arc<Credd>) {
        let mut clients = locked(&self.0);
        let is_it = |client: &Client| Arc::ptr_eq(&client.credd, credd);
        if clients.get(key).is_some_and(is_it) {
            clients.remove(key);
        }
    }

    /// The client for a credd that is opened so: the one of before, or a new one in its place; `true` for a new one.
    fn get(&self, key: Key, opened: &Opened) -> Result<(Arc<Credd>, bool), Error> {
        let now = Instant::now();
        let mut clients = locked(&self.0);
        clients.retain(|_, client| now < client.used + SESSION);
        if let Some(client) = clients.get_mut(&key)
            && client.opened.is_same(opened)
        {
            client.used = now;
            return Ok((Arc::clone(&client.credd), false));
        }
        let tls = Tls::with_config(opened.authorities.config(), &opened.name)?;
        let secret = opened.token.expose().to_owned();
        let secret = htcondor_cedar::AccessToken::new(secret, opened.life);
        let credd = Credd::new(opened.address.clone(), tls, secret).with_session_lifetime(SESSION);
        let credd = Arc::new(credd);
        let client = Client {
            credd: Arc::clone(&credd),
            opened: opened.clone(),
            used: now,
        };
        clients.insert(key, client);
        Ok((credd, true))
    }
}

#[cfg(test)]
mod tests {
    use htvault::TlsSettings;

    use super::*;

    fn key(host: &str) -> Key {
        Key {
            credential: ("cmsprod".to_owned(), "cms".to_owned()),
            collector: None,
            host: host.to_owned(),
        }
    }

    fn authorities() -> Arc<Authorities> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, include_str!("authority.pem")).unwrap();
        let settings = TlsSettings {
            ca_file: Some(file),
            ca_dir: None,
        };
        Arc::new(Authorities::read(&settings).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_stays_until_something_of_it_changes_and_is_dropped_when_it_is_not_used() {
        let (credds, trusted) = (Credds::default(), authorities());
        let get = |port: u16, name: &str, token: &str, authorities: &Arc<Authorities>| {
            let opened = Opened {
                address: Address::new("10.0.0.1", port).unwrap(),
                name: name.to_owned(),
                token: AccessToken::from(token.to_owned()),
                life: Duration::from_hours(1),
                authorities: Arc::clone(authorities),
            };
            credds.get(key("ap.test"), &opened).unwrap().0
        };
        let first = get(9618, "ap.test", "ey1", &trusted);
        assert!(Arc::ptr_eq(&first, &get(9618, "ap.test", "ey1", &trusted)));
        for (port, name, token, authorities) in [
            (9619, "ap.test", "ey1", &trusted),
            (9618, "ap2.test", "ey1", &trusted),
            (9618, "ap.test", "ey2", &trusted),
            (9618, "ap.test", "ey1", &authorities()),
        ] {
            let before = get(9618, "ap.test", "ey1", &trusted);
            let other = get(port, name, token, authorities);
            assert!(!Arc::ptr_eq(&before, &other), "{port} {name} {token}");
        }
        let count = || credds.0.lock().unwrap().len();
        assert_eq!(count(), 1, "each in the place of the one before");

        let last = get(9618, "ap.test", "ey1", &trusted);
        tokio::time::advance(SESSION).await;
        let next = get(9618, "ap.test", "ey1", &trusted);
        assert!(!Arc::ptr_eq(&last, &next), "its session is over");
        tokio::time::advance(SESSION).await;
        let opened = Opened {
            address: Address::new("10.0.0.2", 9618).unwrap(),
            name: "ap2.test".to_owned(),
            token: AccessToken::from("ey1".to_owned()),
            life: Duration::from_hours(1),
            authorities: Arc::clone(&trusted),
        };
        credds.get(key("ap2.test"), &opened).unwrap();
        assert_eq!(count(), 1, "the first is not used any more");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_another_user_counts_only_after_a_full_authentication() {
        let (credds, trusted) = (Credds::default(), authorities());
        let opened = Opened {
            address: Address::new("10.0.0.1", 9618).unwrap(),
            name: "ap.test".to_owned(),
            token: AccessToken::from("ey1".to_owned()),
            life: Duration::from_hours(1),
            authorities: Arc::clone(&trusted),
        };
        let key = key("ap.test");
        let shown = Mutex::new(Vec::new());
        // A credd that takes a new client for `user`, and one with a session for whom it took it before.
        let ask = async |user: &'static str| {
            let act = |credd: Arc<Credd>| {
                let mut shown = shown.lock().unwrap();
                let before = shown.iter().find(|(known, _)| Arc::ptr_eq(known, &credd));
                let taken_for = before.map_or(user, |&(_, user)| user);
                shown.push((credd, taken_for));
                std::future::ready(Ok(taken_for))
            };
            let is_for_other = |user: &Result<&str, Error>| *user.as_ref().unwrap() != "cmsprod";
            credds.with(&key, &opened, act, is_for_other).await.unwrap()
        };
        let count = || shown.lock().unwrap().len();
        assert_eq!(
            (ask("crabtw").await, count()),
            ("crabtw", 1),
            "one is enough"
        );
        assert_eq!((ask("crabtw").await, count()), ("crabtw", 2));
        assert_eq!((ask("cmsprod").await, count()), ("cmsprod", 3), "repaired");
        assert_eq!((ask("crabtw").await, count()), ("cmsprod", 4), "a session");
        // The session's user is out of date the other way round: asked once more, it is found out.
        shown.lock().unwrap()[2].1 = "crabtw";
        assert_eq!((ask("cmsprod").await, count()), ("cmsprod", 6));
        shown.lock().unwrap()[5].1 = "crabtw";
        assert_eq!((ask("crabtw").await, count()), ("crabtw", 8));
        assert!(credds.0.lock().unwrap().is_empty());
    }
}
