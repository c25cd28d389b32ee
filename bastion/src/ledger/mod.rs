//! What is kept over a restart: for each delivery the names and lives of its vault tokens.
//!
//! A credd never gives back what is stored, so without this a service that starts knows neither
//! which token is at a schedd nor until when it lives, and nobody could name it to Vault's admins.
//!
//! What holds:
//! - No secret is in it: an accessor names a token and opens nothing.
//! - It is never needed: a ledger that is missing or broken makes lives estimates, and the next
//!   start pushes what it cannot know.
//! - A token is named here until its life is over or it is known to be revoked, whatever the
//!   configuration says by then; so it cannot grow for ever.
//! - The file is replaced at once or not at all ([`mod@file`]).

pub mod file;
mod keeper;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::delivery::{Credential, DeliveryId};
use crate::push::Tokens;
use crate::vault::Held;

pub use keeper::Keeper;

/// More unrevoked tokens of one delivery than this are not remembered; those that end first go.
const MOST_OTHERS: usize = 32;

/// A vault token, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its accessor.
    pub accessor: String,
    /// When it was issued, by this host's clock.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

/// The vault token that is at a schedd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Which it is.
    #[serde(flatten)]
    pub token: Named,
    /// When it was stored, by the schedd's clock, once that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Timestamp>,
    /// What it was stored for: see [`asks`].
    pub asks: String,
    /// The life that an access token had left, in seconds, when one was last read with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_seconds: Option<u64>,
}

/// What is kept of one delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The token at the schedd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Placed>,
    /// Others that may still live: replaced ones that could not be revoked, and ones that were made
    /// and perhaps never stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Named>,
}

/// Notes of all deliveries, of those too that are no longer configured.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    notes: BTreeMap<DeliveryId, Note>,
    changed: bool,
}

/// What a credential's stored content asks for, in one line without secret: another line means
/// another content.
#[must_use]
pub fn asks(credential: &Credential) -> String {
    let mut text = credential.url.to_string();
    for (key, value) in [
        (" scopes=", credential.scope_list()),
        (" audience=", credential.audience.clone()),
    ] {
        if let Some(value) = value {
            text.push_str(key);
            text.push_str(&value);
        }
    }
    text
}

impl Ledger {
    /// A ledger of these notes.
    #[must_use]
    pub fn new(notes: BTreeMap<DeliveryId, Note>) -> Self {
        Self {
            notes,
            changed: false,
        }
    }

    /// What is known of a delivery.
    #[must_use]
    pub fn get(&self, id: &DeliveryId) -> Option<&Note> {
        self.notes.get(id)
    }

    /// Everything, in the order of names.
    pub fn notes(&self) -> impl Iterator<Item = (&DeliveryId, &Note)> {
        self.notes.iter()
    }

    /// How many deliveries have a note.
    #[must_use]
    pub fn len(&self) -> usize {
        self.notes.len()
    }

    /// Whether nothing is noted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// Notes what is known of a delivery now. Tokens whose life is over are dropped.
    pub fn set(&mut self, id: &DeliveryId, mut note: Note, now: Timestamp) {
        note.drop_ended(now);
        if note == Note::default() {
            self.changed |= self.notes.remove(id).is_some();
        } else if self.notes.get(id) != Some(&note) {
            self.notes.insert(id.clone(), note);
            self.changed = true;
        }
    }

    /// Drops every token whose life is over, and notes that have none.
    pub fn drop_ended(&mut self, now: Timestamp) {
        let changed = &mut self.changed;
        self.notes.retain(|_, note| {
            let before = note.others.len();
            let had = note.current.is_some();
            note.drop_ended(now);
            *changed |= before != note.others.len() || had != note.current.is_some();
            *note != Note::default()
        });
    }

    /// Whether something changed that was not taken.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    /// Takes the mark that something changed since the last call.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Marks it as not saved.
    pub(crate) fn mark_changed(&mut self) {
        self.changed = true;
    }
}

impl Note {
    /// What is known of a delivery for `credential` from its tokens and what was noted before.
    pub(crate) fn of(
        credential: &Credential,
        tokens: &Tokens,
        access_seconds: Option<u64>,
    ) -> Self {
        let current = match (&tokens.current, &tokens.inherited) {
            (Some((held, stored)), _) => Some(Placed {
                token: Named::from(held),
                stored: *stored,
                asks: asks(credential),
                access_seconds,
            }),
            // An estimate names nothing: nobody could do anything with it.
            (None, Some(inherited)) => inherited.accessor.clone().map(|accessor| Placed {
                token: Named {
                    accessor,
                    issued: inherited.life.issued,
                    expires: inherited.life.expires,
                },
                stored: Some(inherited.stored),
                asks: asks(credential),
                access_seconds,
            }),
            // The schedd was not seen since the start.
            (None, None) => tokens.noted.clone(),
        };
        let held = tokens.candidate.iter().chain(&tokens.former);
        let mut others: Vec<Named> = held.map(Named::from).chain(tokens.lost.clone()).collect();
        others.sort_by(|a, b| (b.expires, &a.accessor).cmp(&(a.expires, &b.accessor)));
        others.dedup();
        others.truncate(MOST_OTHERS);
        Self { current, others }
    }

    /// Every token that it names.
    pub fn names(&self) -> impl Iterator<Item = &Named> + Clone {
        let current = self.current.as_ref().map(|placed| &placed.token);
        current.into_iter().chain(&self.others)
    }

    fn drop_ended(&mut self, now: Timestamp) {
        self.others.retain(|token| token.expires > now);
        if self
            .current
            .as_ref()
            .is_some_and(|at| at.token.expires <= now)
        {
            self.current = None;
        }
    }
}

impl From<&Held> for Named {
    fn from(held: &Held) -> Self {
        Self {
            accessor: held.accessor.clone(),
            issued: held.life.issued,
            expires: held.life.expires,
        }
    }
}

#[cfg(test)]
mod tests;
